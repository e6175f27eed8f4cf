"""Images and cubes in memory: data with coordinates, beams, unit, and the maps that go with them."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from faintsky.arrays import Bool, Float
from faintsky.beams import IMPOSSIBLE, beam_pixels, given_beam, normalise_beams, sampled_area
from faintsky.companions import COMPANIONS, Array32, Box, Forgiving, Load, array_companion, as_float32, cut
from faintsky.errors import InputError
from faintsky.grid import (
    ARCSEC,
    SPEED_OF_LIGHT,
    ImageGrid,
    Layout,
    LocalFrame,
    Spectral,
    array_header,
    beam_frame,
    beam_varies,
    icrs_pixels,
    icrs_sky,
    is_regridded,
    local_frame,
    own_sky,
    separation,
    unpickled_wcs,
)
from faintsky.units import in_unit, is_brightness, read_unit

LARGE = 2752
"""Largest side of an image that is read as a whole [pixel]; `faintsky.blocks` cuts larger ones into tiles."""
SHAPE = ("dc_maj", "dc_min", "dc_pa")
"""Columns of an ellipse."""


def _companion(kind: str, what: str) -> cached_property[Any]:
    """A companion, which is read when first used."""

    def read(self: RadioData) -> Any:
        return self.companions[kind]() if kind in self.companions else None

    read.__doc__ = f"{what}, ``[1 or chan, y, x]``; None where not given."
    return cached_property(read)


@dataclass(eq=False)
class RadioData:
    """What images and cubes have in common.

    Made by `faintsky.open_image`, `faintsky.open_cube` or ``from_array``.

    Parameters
    ----------
    name : str
        Path of the file, or a word for an object in memory; used in messages.
    load : callable
        Returns the data ``[chan, y, x]``, float32, NaN where blank; called with a box, only this part.
    shape : tuple of int
        ``(chan, y, x)``.
    header : astropy.io.fits.Header
        The original header.
    layout : Layout
        The file's axes.
    unit : astropy.units.UnitBase
        Unit in the header, Jy/beam where it has none; an `~astropy.units.UnrecognizedUnit` of the header's
        text where it is not known.
    wcs : astropy.wcs.WCS
        Celestial, two axes.
    grid : ImageGrid
        Reference pixel, and the side of a square of a pixel's area where beams are turned into pixels.
    spectral : Spectral, optional
        None for an image without a spectral axis.
    beams : array, ``[chan, 3]``, optional
        Major [arcsec], minor [arcsec], position angle [deg east of north] in the header's frame; None where
        there are none.
    notes : list of str
        What was corrected or assumed when reading.
    companions : mapping of str to callable
        Loaders, by their names in `faintsky.companions.COMPANIONS`.
    kind : {"auto", "restored", "dirty"}
        Whether the data were deconvolved, as the user says; see `faintsky.preparing.kind`.
    continuum : {"auto", "fit", "none"}
        Whether to subtract the continuum of a cube; see `faintsky.preparing.continuum`.
    dish : float, optional
        Diameter of the dishes [m] where the user gives it, 0 for a single dish.
    """

    name: str
    load: Load
    shape: tuple[int, ...]
    header: Any
    layout: Layout
    unit: Any
    wcs: Any
    grid: ImageGrid
    spectral: Spectral | None = None
    beams: Float | None = None
    notes: list[str] = field(default_factory=list)
    companions: Mapping[str, Load] = field(default_factory=dict)
    kind: str = "auto"
    continuum: str = "auto"
    dish: float | None = None

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"wcs": pickle.dumps(self.wcs)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, wcs=unpickled_wcs(state["wcs"]))

    @cached_property
    def cube(self) -> Array32:
        """The data as ``[chan, y, x]``, whether image or cube; read when first used."""
        return np.asarray(self.load(), dtype=np.float32)

    def taken(self, box: Box | None = None) -> Array32:
        """All or a box of the data, ``[chan, y, x]``; only this is read where the file format allows it."""
        if box is None or "cube" in self.__dict__:
            return cut(self.cube, box)
        return np.asarray(self.load(box), dtype=np.float32)

    def forgiving(self) -> Self:
        """The same data, blank where they cannot be read; `lost` lists those parts."""
        return replace(self, load=Forgiving(self.load, self.shape))

    @property
    def lost(self) -> list[str]:
        """Messages on the parts that this process could not read so far."""
        return self.load.lost if isinstance(self.load, Forgiving) else []

    def companion_part(self, kind: str, box: Box) -> Any:
        """A box of a companion, ``[1 or chan, y, x]``; None where it was not given."""
        if kind not in self.__dict__ and kind in self.companions:
            return self.companions[kind](box)
        whole = getattr(self, kind)
        return None if whole is None else cut(whole, box)

    def part(self, box: Box) -> Any:
        """A box as an image or cube of its own, with the same beam in pixels.

        The psf is kept only where the box covers the whole image.
        """
        n_y, n_x = (s.stop - s.start for s in box[-2:])
        (y, x), grid = (s.start for s in box[-2:]), self.grid
        channels = box[0] if len(box) == 3 else slice(0, self.shape[0])
        spectral, beams = self.spectral, self.beams
        if spectral is not None:
            spectral = replace(spectral, frequencies=spectral.frequencies[channels])
        made = replace(
            self,
            load=lambda inner=None: self.taken(_within(box, inner)),
            shape=(channels.stop - channels.start, n_y, n_x),
            wcs=self.wcs[box[-2:]],
            grid=replace(grid, n_y=n_y, n_x=n_x, x0=grid.x0 - x, y0=grid.y0 - y),
            spectral=spectral,
            beams=None if beams is None else beams[channels],
            notes=[self._beam_fault] if self._beam_fault and beams is None else [],
            companions={k: partial(self._part_of, k, box) for k in self.companions if k != "psf"},
        )
        if len(box) == 3 and (n_y, n_x) == self.shape[1:] and "psf" in self.companions:
            every = slice(None)
            made.companions = {
                **made.companions,
                "psf": lambda part=None: cut(self.companion_part("psf", (channels, every, every)), part),
            }
        made.__dict__.update(beam_frame=self.beam_frame, pointing=self.pointing)
        return made

    def _part_of(self, kind: str, box: Box, inner: Box | None = None) -> Any:
        return self.companion_part(kind, _within(box, inner))

    @property
    def frequencies(self) -> Float | None:
        """Channel centres, ``[chan]`` [Hz], in the header's frame."""
        return None if self.spectral is None else self.spectral.frequencies

    @property
    def rest_frequency(self) -> float | None:
        """Rest frequency [Hz]."""
        return None if self.spectral is None or self.spectral.relative else self.spectral.rest_frequency

    @property
    def spectral_frame(self) -> str:
        """Spectral reference frame of the header (LSRK, BARYCENT …), empty where unknown."""
        return "" if self.spectral is None else self.spectral.frame

    def frequency(self, z: ArrayLike) -> Float:
        """Frequency [Hz] of 0-based, possibly fractional channels; extrapolated beyond the ends."""
        assert self.spectral is not None
        z, f = np.asarray(z, dtype=float), self.spectral.frequencies
        if len(f) == 1:
            return f[0] + np.nan_to_num(z * self.spectral.width)
        low = np.clip(np.floor(z), 0, len(f) - 2).astype(int)
        return f[low] + (z - low) * (f[low + 1] - f[low])

    def velocities(self) -> Float | None:
        """Velocity of each channel in the header's frame and convention.

        Returns
        -------
        array or None
            ``[chan]`` [km/s]; None without a rest frequency.
        """
        return None if self.spectral is None else self.spectral.velocity(self.spectral.frequencies)

    psf = _companion("psf", "Synthesised beam, 1 at ``(n_y // 2, n_x // 2)``")
    pb = _companion("pb", "Primary beam, NaN where unknown")
    rms = _companion("rms", "Noise in the unit of the data")
    mask = _companion("mask", "Where to look: true where the mask given is neither 0 nor blank")
    residual = _companion("residual", "What CLEAN left, in the unit of the data")
    model_image = _companion("model_image", "CLEAN components [Jy/pixel]")

    def check_companions(self) -> None:
        """Read the companions; `InputError` where one cannot belong to these data.

        Companions too large to be read at once are checked in parts, when these are used.
        """
        for kind in self.companions:
            if kind == "psf" or max(self.shape[1:]) <= LARGE:
                getattr(self, kind)

    def scatter(self) -> float:
        """Robust standard deviation of the data, in their unit; 0 where they are blank or constant."""
        sample = self.cube.ravel()[:: max(1, self.cube.size // 1_000_003)]
        sample = sample[np.isfinite(sample) & (sample != 0)]
        return 1.4826 * float(np.median(np.abs(sample - np.median(sample)))) if sample.size else 0.0

    @property
    def has_flux(self) -> bool:
        """Whether fluxes follow from the data: their unit is a brightness."""
        return is_brightness(self.unit)

    def working_factors(self) -> Float:
        """`to_jy_per_beam`; ones where the unit gives no flux, so that values keep the data's unit."""
        return self.to_jy_per_beam() if self.has_flux else np.ones(self.shape[0])

    def noise_factors(self, unit: Any) -> Float:
        """Factor of each channel that brings noise in ``unit`` into the unit of the data, ``[chan]``.

        Raises
        ------
        InputError
            Where there is none.
        """
        if unit == self.unit:
            return np.ones(self.shape[0])
        if unit.is_equivalent(self.unit):
            return np.full(self.shape[0], unit.to(self.unit))
        if not (is_brightness(unit) and self.has_flux):
            raise InputError(f"its unit {unit} cannot be turned into {self.unit}, that of the data")
        return replace(self, unit=unit).to_jy_per_beam() / self.to_jy_per_beam()

    def require_beam(self) -> Float:
        """The beams, ``[chan, 3]``; raises `InputError` where the file has none that can be used."""
        if self.beams is not None:
            return self.beams
        fault = self._beam_fault or "no synthesised beam in its header"
        raise InputError(fault, "give --beam MAJ,MIN,PA, or add BMAJ, BMIN and BPA [deg] to it", self.name)

    @property
    def _beam_fault(self) -> str:
        return next((n.partition("; ")[0] for n in self.notes if n.startswith(IMPOSSIBLE)), "")

    def say_beam(self, how: str, beam: ArrayLike | None) -> None:
        """Note which beam ``[3]`` [pixel] stands for a missing or impossible one, and how it was found."""
        why = self._beam_fault or "no beam in the header"
        if beam is not None:
            major, minor, pa = self.sky_beam(beam)
            how = f"taken as {major:.3g} x {minor:.3g} arcsec, position angle {pa:.0f} deg, {how}"
            how += "; fluxes depend on it, and --beam sets it"
        self.notes[:] = [*(note for note in self.notes if not note.startswith(why)), f"{why}; {how}"]

    def take_notes(self, part: RadioData) -> None:
        """Take over the notes of a part, in place of shorter ones with which they begin."""
        new = [note for note in part.notes if note not in self.notes]
        self.notes[:] = [note for note in self.notes if not any(n.startswith(note) for n in new)] + new

    def to_jy_per_beam(self) -> Float:
        """Factor of each channel that turns the data into Jy/beam, ``[chan]``.

        Kelvin are converted by the Rayleigh-Jeans law, ``S = 2 k T Omega / lambda**2``.

        Raises
        ------
        InputError
            Where the unit is no brightness, or needs a beam or a frequency that the file does not have.
        """
        from astropy import units as u

        one = np.ones(self.shape[0])
        if self.unit.is_equivalent(u.Jy / u.beam):
            return one * self.unit.to(u.Jy / u.beam)
        if self.unit.is_equivalent(u.Jy / u.pix):
            return self.unit.to(u.Jy / u.pix) * sampled_area(self.require_beam(), self.grid.cell)
        if self.unit.is_equivalent(u.Jy / u.arcsec**2):
            area = sampled_area(self.require_beam(), self.grid.cell) * self.grid.cell**2
            return self.unit.to(u.Jy / u.arcsec**2) * area
        if self.unit.is_equivalent(u.K) and self.spectral is not None and self.spectral.relative:
            raise InputError(
                f"its unit {self.unit} gives no flux without a frequency", "give --rest-frequency", self.name
            )
        if self.unit.is_equivalent(u.K) and self.frequencies is not None:
            from scipy.constants import Boltzmann

            solid_angle = beam_pixels(self.require_beam(), 1.0) * ARCSEC**2
            per_kelvin = 2 * Boltzmann * (self.frequencies / SPEED_OF_LIGHT) ** 2 * solid_angle / 1e-26
            return self.unit.to(u.K) * per_kelvin
        raise InputError(f"its unit {self.unit} cannot be turned into Jy/beam", "correct BUNIT", self.name)

    def sky(self, x: ArrayLike, y: ArrayLike) -> tuple[Float, Float]:
        """Positions of pixels on the sky. See `faintsky.grid.icrs_sky`.

        Parameters
        ----------
        x, y : array
            Pixels, from 0.

        Returns
        -------
        ra, dec : array
            ICRS [deg], 0 ≤ ra < 360; NaN off the sky.
        """
        return icrs_sky(self.wcs, x, y)

    def pixel(self, ra: ArrayLike, dec: ArrayLike) -> tuple[Float, Float]:
        """Pixels of positions on the sky. See `faintsky.grid.icrs_pixels`.

        Parameters
        ----------
        ra, dec : array
            ICRS [deg].

        Returns
        -------
        x, y : array
            Pixels, from 0.
        """
        return icrs_pixels(self.wcs, ra, dec)

    def frame(self, x: ArrayLike, y: ArrayLike) -> LocalFrame:
        """East and north, ICRS, about 0-based pixels, ``[n]`` or a number."""
        return local_frame(self.sky, x, y)

    def sky_columns(self, pixels: Mapping[str, Any]) -> dict[str, Float]:
        """Catalogue columns on the sky from those in pixels.

        Parameters
        ----------
        pixels : mapping
            ``x`` and ``y``, each ``[source]``; where known also ``dc_maj``, ``dc_min`` [pixel]
            and ``dc_pa`` [deg from +y toward -x], and the errors of all, independent of each other. Other
            entries are ignored.

        Returns
        -------
        dict
            ``ra``, ``dec`` [deg], ``ra_err`` (times cos(dec)), ``dec_err``, ``dc_maj`` and ``dc_min``
            with their errors [arcsec], ``dc_pa`` and its error [deg east of north]: those that were given.
        """
        known = [name + error for name in ("x", "y", *SHAPE) for error in ("", "_err")]
        p = {name: np.asarray(pixels[name], dtype=float) for name in known if name in pixels}
        frame = self.frame(p["x"], p["y"])
        out = dict(zip(("ra", "dec"), self.sky(p["x"], p["y"])))
        if "x_err" in p:
            out |= zip(("ra_err", "dec_err"), frame.position_errors(p["x_err"], p["y_err"]))
        if "dc_pa" in p:
            maj, minor, pa = (p[name] for name in SHAPE)
            out |= zip(SHAPE, frame.to_sky(maj, minor, pa))
            if "dc_pa_err" in p:
                names = [f"{name}_err" for name in SHAPE]
                d_maj, d_min, d_pa = (p[name] for name in names)
                out |= zip(names, frame.shape_errors((maj, minor, pa), (d_maj, d_min, d_pa)))
        return out

    @cached_property
    def pointing(self) -> tuple[float, float]:
        """Pointing centre in the header's own coordinates [deg].

        The reference point, or the middle of an image that was regridded to one elsewhere.
        """
        n_y, n_x = self.shape[-2:]
        on_image = -1 < self.grid.x0 < n_x and -1 < self.grid.y0 < n_y
        if is_regridded(self.wcs) and not on_image:
            lon, lat = own_sky(self.wcs, (n_x - 1) / 2, (n_y - 1) / 2)
            return float(lon), float(lat)
        return float(self.wcs.wcs.crval[0]), float(self.wcs.wcs.crval[1])

    def radius(self, x: ArrayLike, y: ArrayLike) -> Float:
        """Angle between pixels and the `pointing` [rad]."""
        lon0, lat0 = np.deg2rad(self.pointing)
        lon, lat = np.deg2rad(own_sky(self.wcs, x, y))
        return np.asarray(separation(lon, lat, lon0, lat0))

    @cached_property
    def beam_frame(self) -> LocalFrame:
        """The frame in which beams are converted to pixels: see `faintsky.grid.beam_frame`."""
        return beam_frame(self.wcs, self.shape)

    @property
    def pixel_beams(self) -> Float | None:
        """The beams in pixels, ``[chan, 3]``: major, minor, angle from +y toward -x [deg]."""
        return None if self.beams is None else np.stack(self.beam_frame.to_pixels(*self.beams.T), axis=1)

    @property
    def middle_beam(self) -> tuple[float, float, float] | None:
        """Major, minor FWHM [pixel] and angle [deg] of the middle channel."""
        beams = self.pixel_beams
        return None if beams is None else tuple(beams[len(beams) // 2].tolist())

    @property
    def pixel_sides(self) -> str:
        """Sides of a pixel of `beam_frame` as text [arcsec]; one number where they agree to 1 %."""
        along_x, along_y = np.hypot(*self.beam_frame.matrix[0])
        if abs(along_x / along_y - 1) < 0.01:
            return f"{self.grid.cell:.4g}"
        return f"{along_x:.4g} x {along_y:.4g}"

    @property
    def varying_beam(self) -> bool:
        """Whether the beam is constant on the sky, and so varies in pixels over the image."""
        return is_regridded(self.wcs) and "psf" not in self.companions

    @cached_property
    def beam_varies(self) -> bool:
        """Whether that variation is large enough to matter."""
        return self.varying_beam and beam_varies(self.wcs, self.shape)

    def local_beams(self, beam: ArrayLike, x: ArrayLike, y: ArrayLike) -> Float:
        """A beam of `beam_frame` as it appears in pixels at other positions.

        Off the sky it stays as it is. It is no longer than the image, as it would be at a pole in CAR.

        Parameters
        ----------
        beam : array
            ``[3]``: major, minor FWHM [pixel] and angle from +y toward -x [deg].
        x, y : array
            Pixels from 0, ``[n]`` or a number.

        Returns
        -------
        array
            ``[n, 3]``, as `beam`.
        """
        same = np.tile(np.asarray(beam, dtype=float), (np.size(x), 1))
        if not self.varying_beam:
            return same
        there = local_frame(lambda i, j: own_sky(self.wcs, i, j), x, y)
        major, minor, pa = there.to_pixels(*self.sky_beam(beam))
        longest = max(self.shape[-2:])
        beams = np.stack([np.minimum(major, longest), np.minimum(minor, longest), pa], axis=1)
        return np.where(np.isfinite(beams).all(axis=1, keepdims=True), beams, same)

    def sky_beam(self, beam: ArrayLike) -> list[float]:
        """A beam ``[3]`` in pixels back in arcsec and deg, as the header would have it."""
        major, minor, pa = np.asarray(beam, dtype=float)
        return [float(v[0]) for v in self.beam_frame.to_sky(major, minor, pa)]

    def sky_beams(self, beam: ArrayLike, x: ArrayLike, y: ArrayLike) -> Float:
        """A beam of `beam_frame` on the sky at some pixels.

        Parameters
        ----------
        beam, x, y : array
            As for `local_beams`.

        Returns
        -------
        array
            ``[n, 3]``: major, minor FWHM [arcsec], position angle [deg east of ICRS north].
        """
        return np.stack(self.frame(x, y).to_sky(*self.local_beams(beam, x, y).T), axis=1)

    def peak_factor(self, x: ArrayLike, y: ArrayLike) -> Float:
        """Correction to the Jy/beam of `to_jy_per_beam` at some pixels, ``[n]``: a factor."""
        from astropy import units as u

        if self.unit.is_equivalent(u.Jy / u.pix):
            return self._beam_area(x, y)
        if self.unit.is_equivalent(u.Jy / u.arcsec**2):
            return self._beam_area(x, y) * self._pixel_area(x, y)
        return np.ones(np.size(x))

    def flux_factor(self, x: ArrayLike, y: ArrayLike) -> Float:
        """Correction to fluxes that were summed with the beam area of `beam_frame`, ``[n]``: a factor."""
        return self.peak_factor(x, y) / self._beam_area(x, y)

    def _pixel_area(self, x: ArrayLike, y: ArrayLike) -> Float:
        return self.frame(x, y).area / self.grid.cell**2

    def _beam_area(self, x: ArrayLike, y: ArrayLike) -> Float:
        """Area of the beam in pixels over that in `beam_frame`."""
        return 1 / self._pixel_area(x, y) if self.varying_beam else np.ones(np.size(x))


def _within(box: Box, inner: Box | None) -> Box:
    """A box of a box."""
    if inner is None:
        return box
    if len(inner) < len(box):
        inner = (slice(0, box[0].stop - box[0].start), *inner)
    elif len(box) < len(inner):
        box = (slice(0, None), *box)
    return tuple(slice(o.start + i.start, o.start + i.stop) for o, i in zip(box, inner))


class RadioImage(RadioData):
    """A 2-D image; ``data`` is ``[y, x]``."""

    @property
    def data(self) -> Array32:
        """The image, ``[y, x]``, float32, NaN where blank; read when first used."""
        return self.cube[0]

    def negative(self) -> Self:
        """The same with the other sign."""
        return replace(self, load=lambda box=None: -self.taken(box))

    @classmethod
    def from_array(cls, data: ArrayLike, *, cell: float, **details: Any) -> Self:
        """An image from an array.

        Parameters
        ----------
        data : array
            ``[y, x]``, NaN or masked where blank.
        cell : float
            Side of a pixel [arcsec].
        **details : object
            Beam, unit, position, psf and more: as in `RadioCube.from_array`.

        Returns
        -------
        RadioImage
            In memory.
        """
        if np.ndim(data) != 2:
            raise InputError(f"an image has 2 axes, not {np.ndim(data)}", "give an array [y, x]")
        return _from_array(cls, data, cell, details.pop("frequencies", None), **details)


class RadioCube(RadioData):
    """A spectral cube; ``data`` is ``[chan, y, x]``."""

    spectral: Spectral

    @property
    def data(self) -> Array32:
        """The cube, ``[chan, y, x]``, float32, NaN where blank; read when first used."""
        return self.cube

    @property
    def frequencies(self) -> Float:
        """Channel centres, ``[chan]`` [Hz], in the header's frame."""
        return self.spectral.frequencies

    def channel_widths(self) -> Float:
        """Separation of neighbouring channels at each channel, ``[chan]`` [Hz], positive."""
        f = self.spectral.frequencies
        return np.abs(np.gradient(f)) if len(f) > 1 else np.abs([self.spectral.width])

    def channel_widths_velocity(self) -> Float | None:
        """The same as a velocity, ``[chan]`` [km/s]; None without a rest frequency."""
        v = self.velocities()
        if v is None:
            return None
        if len(v) > 1:
            return np.abs(np.gradient(v))
        ends = self.spectral.velocity(self.frequencies[0] + np.array([-0.5, 0.5]) * self.channel_widths())
        return None if ends is None else np.abs(np.diff(ends))

    @cached_property
    def blank_channels(self) -> Bool:
        """Channels without information, ``[chan]``: all NaN, or one value throughout (CASA writes 0)."""
        return np.array([_is_blank(plane) for plane in self.cube])

    def holds_data(self, x: float, y: float, z: float, width: float = 0.0) -> bool:
        """Whether there are data of a line: its middle channel may be blank where others are not.

        Parameters
        ----------
        x, y, z : float
            Pixel and channel, from 0; beyond the border the nearest one counts.
        width : float, optional
            Of the line [channel].

        Returns
        -------
        bool
        """
        n_chan, n_y, n_x = self.shape
        wanted = ((z - width / 2, n_chan), (z + width / 2, n_chan), (y, n_y), (x, n_x))
        low, high, j, i = (int(np.clip(round(v), 0, n - 1)) for v, n in wanted)
        channels = slice(low, high + 1)
        return bool((np.isfinite(self.data[channels, j, i]) & ~self.blank_channels[channels]).any())

    @classmethod
    def from_array(cls, data: ArrayLike, *, cell: float, frequencies: ArrayLike, **details: Any) -> Self:
        """A cube from arrays.

        Parameters
        ----------
        data : array
            ``[chan, y, x]``, NaN or masked where blank. This and all that follows may have units of its own
            (`~astropy.units.Quantity`).
        cell : float
            Side of a pixel [arcsec].
        frequencies : array
            Channel centres, ``[chan]`` [Hz].
        beam : array, optional
            ``[3]`` or ``[chan, 3]``: major [arcsec], minor [arcsec], position angle [deg].
        unit : str, optional
            Brightness unit, Jy/beam by default, or that of ``data``.
        ra, dec : float, optional
            ICRS position of pixel ``(n_x // 2, n_y // 2)`` [deg]; 0 by default.
        rest_frequency : float, optional
            [Hz]
        psf, pb, rms, mask, residual, model_image : array, optional
            Companions, ``[1 or chan, y, x]`` or ``[y, x]``.
        kind : {"auto", "restored", "dirty"}
            Whether it was deconvolved; by default this is judged from its sources.
        continuum : {"auto", "fit", "none"}
            Where a linear continuum is subtracted from the spectra.
        name : str, optional
            A word for messages.

        Returns
        -------
        RadioCube
            In memory.
        """
        if np.ndim(data) != 3:
            raise InputError(f"a cube has 3 axes, not {np.ndim(data)}", "give an array [chan, y, x]")
        return _from_array(cls, data, cell, frequencies, **details)


def _is_blank(plane: Array32) -> bool:
    few = plane.ravel()[::97]
    if np.nanmin(few, initial=np.inf) < np.nanmax(few, initial=-np.inf):
        return False
    finite = plane[np.isfinite(plane)]
    return finite.size == 0 or bool(finite.min() == finite.max())


def _from_array(
    of: type[Any], data: Any, cell: Any, frequencies: Any, *, beam: Any = None, unit: Any = None,
    ra: Any = 0.0, dec: Any = 0.0, rest_frequency: Any = None, kind: str = "auto", continuum: str = "auto",
    name: str = "array", psf: Any = None, pb: Any = None, rms: Any = None, mask: Any = None,
    residual: Any = None, model_image: Any = None,
) -> Any:  # fmt: skip
    from astropy.wcs import WCS

    own = getattr(data, "unit", None)
    known = own if unit is None and own is not None else read_unit(str(unit or "Jy/beam"))
    infinite: list[str] = []
    cube = as_float32(in_unit(data, known, "data", name), infinite)
    cube = cube[None] if cube.ndim == 2 else cube
    cell, ra, dec = (
        float(in_unit(v, of, what, name))
        for v, of, what in ((cell, "arcsec", "cell"), (ra, "deg", "ra"), (dec, "deg", "dec"))
    )
    if rest_frequency is not None:
        rest_frequency = float(in_unit(rest_frequency, "Hz", "rest frequency", name))
    n_chan, n_y, n_x = cube.shape
    spectral = None
    if frequencies is not None:
        f = np.atleast_1d(np.asarray(in_unit(frequencies, "Hz", "frequencies", name), dtype=float))
        if f.shape != (n_chan,):
            raise InputError(f"{len(f)} frequencies for {n_chan} channels", "give one for each", name)
        width = float(f[1] - f[0]) if n_chan > 1 else np.nan
        spectral = Spectral(f, width, rest_frequency, "")
    grid = ImageGrid(n_y, n_x, cell, ra, dec)
    header = array_header(grid, spectral)
    wcs = WCS(header=header).celestial
    beams, notes = (None, []) if beam is None else normalise_beams(given_beam(beam))
    header["BUNIT"] = str(known)
    if beams is not None:
        beams = np.broadcast_to(beams, (n_chan, 3)).copy()
        header["BMAJ"], header["BMIN"] = beams[0, 0] / 3600, beams[0, 1] / 3600
        header["BPA"] = beams[0, 2]
    axes = ("chan", "y", "x") if spectral is not None else ("y", "x")
    layout = Layout(cube.shape if spectral is not None else cube.shape[1:], axes)
    notes = [*infinite, *notes]
    made = of(name, partial(cut, cube), cube.shape, header, layout, known, wcs, grid, spectral, beams, notes)
    made.kind, made.continuum = kind, continuum
    given = dict(zip(COMPANIONS, (psf, pb, rms, mask, residual, model_image), strict=True))
    made.companions = {k: array_companion(k, v, made) for k, v in given.items() if v is not None}
    return made

"""What images and cubes know of the sky: positions, the local frame, and their beam at every place."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from faintsky.grid import ImageGrid
from faintsky.sky_frame import (
    LocalFrame,
    beam_frame,
    beam_varies,
    icrs_pixels,
    icrs_sky,
    is_regridded,
    local_frame,
    own_sky,
)

Float = NDArray[np.float64]
SHAPE = ("dc_maj", "dc_min", "dc_pa")
"""Columns of an ellipse."""


class OnSky:
    """Methods of `faintsky.image.RadioData`, whose attributes these are."""

    wcs: Any
    shape: tuple[int, ...]
    unit: Any
    grid: ImageGrid
    beams: NDArray[np.float64] | None
    companions: Mapping[str, Any]

    def sky(self, x: ArrayLike, y: ArrayLike) -> tuple[Float, Float]:
        """ICRS right ascension (0 to 360) and declination [deg] of 0-based pixels; NaN off the sky."""
        return icrs_sky(self.wcs, x, y)

    def pixel(self, ra: ArrayLike, dec: ArrayLike) -> tuple[Float, Float]:
        """0-based pixels x and y of ICRS right ascension and declination [deg]."""
        return icrs_pixels(self.wcs, ra, dec)

    def frame(self, x: ArrayLike, y: ArrayLike) -> LocalFrame:
        """East and north, ICRS, about 0-based pixels, ``[n]`` or a number."""
        return local_frame(self.sky, x, y)

    def sky_columns(self, pixels: Mapping[str, Any]) -> dict[str, Float]:
        """Catalogue columns on the sky from those in pixels.

        Parameters
        ----------
        pixels : mapping
            ``x`` and ``y``, each ``[source]``; where they are known, too, ``dc_maj``, ``dc_min`` [pixel]
            and ``dc_pa`` [deg from +y toward -x], and the errors of all, independent of each other.

        Returns
        -------
        dict
            ``ra``, ``dec`` [deg], ``ra_err`` (times cos(dec)), ``dec_err``, ``dc_maj`` and ``dc_min``
            with their errors [arcsec], ``dc_pa`` and its error [deg east of north]: those that were given.
        """
        p = {name: np.asarray(values, dtype=float) for name, values in pixels.items()}
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

    def radius(self, x: ArrayLike, y: ArrayLike) -> Float:
        """Angle between pixels and the pointing centre [rad].

        That is the reference point, or the middle of an image that was regridded to one elsewhere.
        """
        n_y, n_x = self.shape[-2:]
        lon0, lat0 = np.deg2rad(self.wcs.wcs.crval)
        on_image = -1 < self.grid.x0 < n_x and -1 < self.grid.y0 < n_y
        if is_regridded(self.wcs) and not on_image:
            lon0, lat0 = np.deg2rad(own_sky(self.wcs, (n_x - 1) / 2, (n_y - 1) / 2))
        lon, lat = np.deg2rad(own_sky(self.wcs, x, y))
        half = np.sin((lat - lat0) / 2) ** 2 + np.cos(lat) * np.cos(lat0) * np.sin((lon - lon0) / 2) ** 2
        return np.asarray(2 * np.arcsin(np.sqrt(np.minimum(half, 1.0))))

    @cached_property
    def beam_frame(self) -> LocalFrame:
        """Where beams are turned into pixels: see `faintsky.sky_frame.beam_frame`."""
        return beam_frame(self.wcs, self.shape)

    @property
    def pixel_beams(self) -> Float | None:
        """The beams in pixels, ``[chan, 3]``: major, minor, angle from +y toward -x [deg]."""
        return None if self.beams is None else np.stack(self.beam_frame.to_pixels(*self.beams.T), axis=1)

    @property
    def pixel_sides(self) -> str:
        """Sides of a pixel in words [arcsec], of `beam_frame`: one number where they are alike to 1 %."""
        along_x, along_y = np.hypot(*self.beam_frame.matrix[0])
        if abs(along_x / along_y - 1) < 0.01:
            return f"{self.grid.cell:.4g}"
        return f"{along_x:.4g} x {along_y:.4g}"

    @property
    def varying_beam(self) -> bool:
        """Whether the beam is the same on the sky, and so another in pixels at every place."""
        return is_regridded(self.wcs) and "psf" not in self.companions

    @cached_property
    def beam_varies(self) -> bool:
        """Whether it differs enough over the image to make a difference."""
        return self.varying_beam and beam_varies(self.wcs, self.shape)

    def local_beams(self, beam: ArrayLike, x: ArrayLike, y: ArrayLike) -> Float:
        """A beam ``[3]`` in pixels, of `beam_frame`, as it is at some pixels, ``[n, 3]``.

        As it is where these are off the sky; no longer than the image, as it would be at a pole in CAR.
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
        """The same on the sky, ``[n, 3]``: major, minor [arcsec], position angle [deg east of ICRS north]."""
        return np.stack(self.frame(x, y).to_sky(*self.local_beams(beam, x, y).T), axis=1)

    def peak_factor(self, x: ArrayLike, y: ArrayLike) -> Float:
        """What Jy/beam that `to_jy_per_beam` gives for some pixels is to be multiplied by, ``[n]``."""
        from astropy import units as u

        if self.unit.is_equivalent(u.Jy / u.pix):
            return self._beam_area(x, y)
        if self.unit.is_equivalent(u.Jy / u.arcsec**2):
            return self._beam_area(x, y) * self._pixel_area(x, y)
        return np.ones(np.size(x))

    def flux_factor(self, x: ArrayLike, y: ArrayLike) -> Float:
        """What a sum over pixels, made Jy by the area of the beam in `beam_frame`, is to be multiplied by."""
        return self.peak_factor(x, y) / self._beam_area(x, y)

    def _pixel_area(self, x: ArrayLike, y: ArrayLike) -> Float:
        return self.frame(x, y).area / self.grid.cell**2

    def _beam_area(self, x: ArrayLike, y: ArrayLike) -> Float:
        """Area of the beam in pixels over that in `beam_frame`."""
        return 1 / self._pixel_area(x, y) if self.varying_beam else np.ones(np.size(x))

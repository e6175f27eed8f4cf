"""A cube prepared for a search: flat noise, continuum subtracted, psf and beam known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from faintsky.arrays import Array, Array32, Bool, Float
from faintsky.errors import InputError, NoDataError
from faintsky.image import RadioCube
from faintsky.preparing.channels import ChannelCorrelation, channel_correlation
from faintsky.preparing.continuum import (
    Continuum,
    LineFree,
    continuum_present,
    find_strong_lines,
    fit_continuum,
    one,
)
from faintsky.preparing.kind import Kind, kind_of_cube
from faintsky.preparing.noise import channel_rms, relative_noise_map
from faintsky.preparing.psf import fitted_beam, gaussian_psf, psf_error, psf_from_noise

FIDELITY = {"given": 0.03, "noise": 0.06, "robust": 0.20, "beam": 0.10}
"""Relative error of a subtracted source by origin of the psf: given (only the model's error), measured from
the noise, or the Gaussian of the header."""

PSF_FLUX_ERROR = {"noise": 0.01, "robust": 0.06}
"""Relative flux errors caused by a psf measured from the noise, besides the psf's own noise: remains of faint
sources, and details of robust weights that a solution in rings misses."""

QUIET = 12
"""With fewer channels than this free of strong lines and their sidelobes, faint sidelobes add up to what may
pass for a continuum."""


@dataclass
class PreparedCube:
    """Data for detectors, in Jy/beam of an image whose noise is the same all over a channel.

    Data whose unit gives no flux stay in their unit.

    Attributes
    ----------
    data : array
        ``[chan, y, x]``; blank pixels and channels are 0, single blank voxels NaN.
    valid : array of bool
        Pixels that hold data in most channels, ``[y, x]``.
    sigma : array
        Rms of every channel, ``[chan]``; 0 marks a blank one.
    relative : array or None
        Noise map by which the cube was divided to make its noise flat, ``[y, x]``; None where it already was.
    continuum : Continuum
        Of `data`.
    present : array of bool
        Where there is a continuum, ``[y, x]``: elsewhere nothing was subtracted from `line`.
    line : array
        `data` minus the continuum, ``[chan, y, x]``.
    psf : array
        ``[1 or chan, y, x]``.
    psf_origin : {"given", "noise", "robust", "beam"}
        Origin: the user, the noise of a cube with natural weights or of one with robust weights
        (`faintsky.preparing.psf.psf_from_correlation`), or the Gaussian of the header.
    beam : tuple of float
        Major, minor FWHM [pixel] and position angle [deg].
    kind : Kind
        What the cube is taken for.
    channels : ChannelCorrelation or None
        How the noise of its channels is correlated; None where they are independent.
    asked : {"auto", "fit", "none"}
        What the user says about the continuum.
    quiet : int
        Number of channels without strong lines and their sidelobes anywhere in the image.
    lines_first : bool
        Whether lines are subtracted before a continuum is looked for.
    """

    data: Array32
    valid: Bool
    sigma: Float
    relative: Float | None
    continuum: Continuum
    present: Bool
    line: Array32
    psf: Array
    psf_origin: str
    beam: tuple[float, float, float]
    kind: Kind
    channels: ChannelCorrelation | None = None
    asked: str = "auto"
    quiet: int = 0
    lines_first: bool = False

    @property
    def continuum_hidden(self) -> bool:
        """Whether sidelobes of lines are in so many channels that they may pass for a continuum."""
        dirty = self.kind.name == "dirty" and not self.sidelobes_stay
        return dirty and self.asked == "auto" and self.quiet < QUIET

    @property
    def beam_pixels(self) -> float:
        """Geometric mean of the beam's FWHMs [pixel]."""
        return float(np.sqrt(self.beam[0] * self.beam[1]))

    @property
    def fidelity(self) -> float:
        """See `FIDELITY`."""
        return FIDELITY[self.psf_origin]

    @property
    def sidelobes_stay(self) -> bool:
        """Whether sources show sidelobes that the psf does not have."""
        return self.kind.name == "dirty" and self.psf_origin == "beam"

    @property
    def psf_from_noise(self) -> bool:
        """Whether the psf was measured from the noise."""
        return self.psf_origin in ("noise", "robust")

    @property
    def psf_error(self) -> float:
        """Standard error of a psf measured from the noise; 0 for others."""
        if not self.psf_from_noise:
            return 0.0
        return psf_error(int(self.valid.sum()), self.beam[0] * self.beam[1], int((self.sigma > 0).sum()))

    @property
    def flux_error(self) -> float:
        """Relative error of fluxes caused by that of the psf; see `PSF_FLUX_ERROR`."""
        least = PSF_FLUX_ERROR.get(self.psf_origin, 0.0)
        return float(np.hypot(least, 2 * self.psf_error)) if least else 0.0

    def strong_lines(self) -> torch.Tensor:
        """Voxels of lines that would bend a continuum, ``[chan, y, x]``; see `find_strong_lines`."""
        inverse = np.where(self.sigma > 0, 1 / np.maximum(self.sigma, 1e-300), 0.0).astype(np.float32)
        scaled = torch.as_tensor(self.line * inverse[:, None, None])
        return find_strong_lines(scaled, widening=self.channels.mean_error if self.channels else None)

    def find_continuum(
        self,
        closed: torch.Tensor | None = None,
        without: Sequence[tuple[Array, Array]] = (),
        doubt: Array | float = 0.0,
        bowls: bool = False,
    ) -> tuple[Continuum, Bool]:
        """Fit the continuum of the data minus some sources, and decide where there is any.

        Parameters
        ----------
        closed : torch.Tensor of bool, optional
            Voxels not to be used, ``[chan, y, x]``.
        without : sequence of (array, array), optional
            Models to subtract first: spectra ``[chan]`` times images ``[y, x]``.
        doubt, bowls
            See `continuum_present`.

        Returns
        -------
        continuum : Continuum
        present : array of bool
            ``[y, x]``
        """
        widening = self.channels.mean_error if self.channels else one
        fit = fit_continuum(torch.as_tensor(self.data), self.sigma, line_mask=closed, without=without)
        fit = fit.less_certain(widening(self.sigma.size))

        def columns(y: NDArray[np.int_], x: NDArray[np.int_]) -> Array:
            spectra = self.data[:, y, x] - sum(s[:, None] * image[y, x] for s, image in without)
            return spectra if closed is None else np.where(closed[:, y, x].numpy(), np.nan, spectra)

        line_free = LineFree(columns, self.sigma, widening)
        present = continuum_present(fit, self.valid, self.beam_pixels, line_free, self.asked, doubt, bowls)
        return fit, present

    def take_out(self, continuum: Continuum, present: Bool) -> None:
        """Subtract a continuum where it is `present`, ``[y, x]``."""
        self.continuum, self.present = continuum, present
        self.line = subtract_continuum(self.data, continuum.where(present), self.valid, self.sigma)

    def gain(self, x: float, y: float) -> float:
        """Factor from fluxes of the flattened cube to those of the file, at a pixel."""
        if self.relative is None:
            return 1.0
        j = int(np.clip(round(y), 0, self.relative.shape[0] - 1))
        i = int(np.clip(round(x), 0, self.relative.shape[1] - 1))
        value = float(self.relative[j, i])
        return value if np.isfinite(value) else 1.0

    def beam_at(self, cube: RadioCube) -> Callable[[float, float], tuple[float, float, float]] | None:
        """Function that gives the beam at a pixel ``(x, y)``; None where the beam is the same everywhere."""
        if self.psf_origin != "beam" or not cube.beam_varies:
            return None
        return lambda x, y: tuple(cube.local_beams(self.beam, x, y)[0])

    def restored(self, flat: Array) -> Array32:
        """A flattened cube or image in the unit of the file."""
        out = flat if self.relative is None else flat * np.nan_to_num(self.relative, nan=1.0)
        return np.asarray(out, dtype=np.float32)

    def bare(self) -> PreparedCube:
        """The same without arrays that can be made again from the cube: see `again`."""
        empty = np.zeros((0, 0, 0), np.float32)
        middle = len(self.psf) // 2
        psf = empty if self.psf_origin == "beam" else self.psf[middle : middle + 1]
        return replace(self, data=empty, line=empty, psf=psf)

    def again(self, cube: RadioCube) -> PreparedCube:
        """The inverse of `bare`, with the cube that this was made from."""
        filled = _filled(cube, cube.blank_channels)[2]
        if self.relative is not None:
            filled = _flattened(filled, self.relative)
        line = subtract_continuum(filled, self.continuum.where(self.present), self.valid, self.sigma)
        psf: Array | None = self.psf
        if self.psf_origin == "given":
            psf = cube.psf
        elif self.psf_origin == "beam":
            psf = gaussian_psf((cube.shape[1], cube.shape[2]), *self.beam)[None]
        assert psf is not None
        return replace(self, data=filled, line=line, psf=psf)

    def flat(self, restored: Array) -> Array32:
        """The inverse of `restored`."""
        return np.asarray(
            restored if self.relative is None else _flattened(restored, self.relative), np.float32
        )


def prepare_cube(cube: RadioCube, *, device: str = "cpu") -> PreparedCube:
    """Noise, continuum, psf and beam of a cube.

    Parameters
    ----------
    cube : RadioCube
        With its psf and rms where known.
    device : str, optional
        Where PyTorch computes.

    Raises
    ------
    InputError
        Where no channel holds data, the cube is smaller than the filter, or a beam is needed and missing.
    """
    blank = cube.blank_channels
    if blank.all():
        raise NoDataError("holds no data: every channel is blank", "give a cube with data", cube.name)
    usable = int((~blank).sum())
    if usable < 5:
        raise NoDataError(
            f"has {usable} channels with data, fewer than the line filter needs",
            "give a cube of at least 5 channels",
            cube.name,
        )
    header_beam = cube.middle_beam
    if header_beam is not None:
        _require_size(cube, np.sqrt(header_beam[0] * header_beam[1]))
    factors, valid, filled = _filled(cube, blank)
    sigma, relative = _given_noise(cube, factors, blank)
    if relative is not None:
        filled = _flattened(filled, relative)
    beam_pixels = float(np.sqrt(header_beam[0] * header_beam[1])) if header_beam else 4.0
    parts = _separate(filled, valid, blank, beam_pixels, device, cube.continuum)
    if sigma is None:
        relative = _noise_map(parts, valid, beam_pixels)
        if relative is not None:
            filled = _flattened(filled, relative)
            parts = _separate(filled, valid, blank, beam_pixels, device, cube.continuum)
        sigma = parts.sigma
    if not (sigma > 0).any():
        raise NoDataError("has no noise: its channels are constant", "give a cube with noise", cube.name)
    line = subtract_continuum(filled, parts.continuum.where(parts.present), valid, sigma)
    psf, origin, beam, kind = _choose_psf(cube, filled, parts.continuum, line, sigma, valid, header_beam)
    _require_size(cube, np.sqrt(beam[0] * beam[1]))
    return PreparedCube(
        filled, valid, sigma, relative, parts.continuum, parts.present, line, psf, origin, beam, kind,
        parts.channels, cube.continuum, parts.quiet,
    )  # fmt: skip


def _filled(cube: RadioCube, blank: Bool) -> tuple[Array32, Bool, Array32]:
    """Factors of the channels, pixels that hold data, and the data times the factors, blanks marked."""
    factors = np.broadcast_to(cube.working_factors(), (cube.shape[0],)).astype(np.float32)
    data = cube.data if np.all(factors == 1) else cube.data * factors[:, None, None]
    finite = np.isfinite(data)
    count = np.add.reduce(finite[~blank].view(np.uint8), axis=0, dtype=np.int32)
    valid = count > 0.5 * int((~blank).sum())
    return factors, valid, data if finite.all() else _blanks_marked(data, finite, valid, blank)


def _blanks_marked(data: Array32, finite: Bool, valid: Bool, blank: Bool) -> Array32:
    """Mark blank pixels and channels by 0, single blank voxels of other pixels by NaN.

    A primary beam that shrinks with frequency leaves a rim of pixels with data in some channels only: a 0
    there would look like absorption of all their continuum.
    """
    filled = np.empty_like(data)
    for k in range(len(data)):
        # everything not finite is NaN already, or an infinity
        hole = np.float32(0.0 if blank[k] else np.nan)
        np.copyto(filled[k], np.where(valid, hole, np.float32(0)))
        np.copyto(filled[k], data[k], where=finite[k])
    return filled


def _flattened(data: Array32, relative: Float) -> Array32:
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = np.where(np.isfinite(relative) & (relative > 0), 1 / relative, 0)
    return data * inverse.astype(np.float32)


def _require_size(cube: RadioCube, beam_pixels: float) -> None:
    need = max(8, int(np.ceil(2 * beam_pixels)))
    if min(cube.shape[1:]) < need:
        raise InputError(
            f"its {cube.shape[2]} x {cube.shape[1]} pixels are smaller than the filter",
            f"give at least {need} x {need} pixels (two beams)",
            cube.name,
        )


def _given_noise(cube: RadioCube, factors: Array32, blank: Bool) -> tuple[Float | None, Float | None]:
    """Noise of every channel, and of every pixel relative to it, from the user's noise map."""
    if cube.rms is None:
        return None, None
    rms = np.where(cube.rms > 0, cube.rms, np.nan).astype(float)
    levels = np.array([np.nanmedian(p) if np.isfinite(p).any() else 0.0 for p in rms])
    used = levels > 0
    shape = np.nanmedian(rms[used] / levels[used, None, None], axis=0) if used.any() else None
    sigma = np.broadcast_to(levels, (cube.shape[0],)) * factors
    flat = shape is None or np.nanstd(shape) < 0.01
    return np.where(blank, 0.0, sigma), None if flat else shape


@dataclass
class _Parts:
    """Continuum, where it is, the noise of every channel, and the decimated line cube with its line mask."""

    continuum: Continuum
    present: Bool
    sigma: Float
    coarse: Array32
    lines: Bool
    step: int
    channels: ChannelCorrelation | None
    quiet: int


def _noise_map(parts: _Parts, valid: Bool, beam_pixels: float) -> Float | None:
    """`relative_noise_map` of the decimated line cube, brought to full size."""
    step = parts.step
    finite = np.isfinite(parts.coarse)
    weight = finite & ~parts.lines & valid[::step, ::step]
    coarse = parts.coarse if finite.all() else np.where(finite, parts.coarse, np.float32(0))
    level = relative_noise_map(coarse, weight, parts.sigma, beam_pixels / step)
    if level is None or step == 1:
        return level
    full = np.repeat(np.repeat(level, step, axis=0), step, axis=1)[: valid.shape[0], : valid.shape[1]]
    return np.where(valid, full, np.nan)


def _separate(data: Array32, valid: Bool, blank: Bool, beam_pixels: float, device: str, asked: str) -> _Parts:
    """Fit the continuum outside the strong lines."""
    n_chan, usable = data.shape[0], int((~blank).sum())
    # every other pixel contains all information of a dirty image, for a quarter of the work
    step = 2 if min(data.shape[1:]) >= 64 else 1
    coarse = np.ascontiguousarray(data[:, ::step, ::step])
    coarse_valid = valid[::step, ::step]
    level_free = coarse - medians_of_spectra(coarse[~blank])
    sigma = np.where(blank, 0.0, channel_rms(level_free, coarse_valid))
    order = 1 if usable >= 8 else 0
    # a fit of `order + 1` parameters removes its share of the noise
    share = np.sqrt(1 - (order + 1) / usable)
    scale = np.where(sigma > 0, 1 / np.maximum(sigma, 1e-300), 0.0).astype(np.float32)
    # a bright level over an rms that differs from channel to channel would look like lines
    level_free *= scale[:, None, None]
    holds = np.isfinite(level_free) & coarse_valid & (sigma > 0)[:, None, None]
    area = 1.133 * (beam_pixels / step) ** 2
    first = channel_correlation(np.where(holds, level_free, 0), holds, area, 1)
    scaled = torch.as_tensor(level_free, device=device)
    scaled[torch.as_tensor(sigma == 0, device=device)] = torch.nan
    mask = find_strong_lines(scaled, widening=None if first is None else first.mean_error)
    coarse_fit = fit_continuum(torch.as_tensor(coarse, device=device), sigma, line_mask=mask, order=order)
    coarse_line = coarse - coarse_fit.cube(n_chan)
    sigma = np.where(blank, 0.0, channel_rms(coarse_line, coarse_valid) / share)
    continuum = fit_continuum(torch.as_tensor(data, device=device), sigma, line_mask=mask, order=order)
    lines = mask.cpu().numpy()
    channels = first
    if channels is not None:
        scale = np.where(sigma > 0, 1 / np.maximum(sigma, 1e-300), 0.0).astype(np.float32)
        clean = np.where(holds, coarse_line, 0) * scale[:, None, None]
        channels = channel_correlation(clean, holds & ~lines, area, order + 1)
    if channels is not None:
        continuum = continuum.less_certain(channels.mean_error(n_chan))
    widening = channels.mean_error if channels else one
    quiet = lines.sum(axis=(1, 2)) < 0.5 * area
    line_free = LineFree(lambda y, x: data[:, y, x], sigma, widening, quiet)
    present = continuum_present(continuum, valid, beam_pixels, line_free, asked)
    free = int((quiet & ~blank).sum())
    return _Parts(continuum, present, sigma, coarse_line, lines, step, channels, free)


def medians_of_spectra(cube: Array32) -> Array32:
    """Median of every spectrum, NaNs as 0, ``[y, x]``; the lower one of an even number of values."""
    rows = np.ascontiguousarray(cube.reshape(len(cube), -1).T)
    rows[np.isnan(rows)] = 0
    middle = (len(cube) - 1) // 2
    rows.partition(middle, axis=1)
    return rows[:, middle].reshape(cube.shape[1:])


def subtract_continuum(data: Array32, continuum: Continuum, valid: Bool, sigma: Float) -> Array32:
    """Subtract the continuum from a cube.

    Parameters
    ----------
    data : array
        ``[chan, y, x]``
    continuum : Continuum
    valid : array of bool
        Pixels that hold data, ``[y, x]``.
    sigma : array
        Rms of every channel, 0 where blank.

    Returns
    -------
    array
        ``[chan, y, x]``, 0 where blank.
    """
    part = continuum.where(valid)
    used = np.flatnonzero(sigma > 0)
    line = np.zeros_like(data)
    for k, plane in ((k, line[k]) for k in used):
        # in place: a plane fits the processor's cache
        np.multiply(part.slope, np.float32(part.middle - k), out=plane)
        plane -= part.level
        plane += data[k]
        plane *= valid
        if not np.isfinite(plane.sum()):
            plane[~np.isfinite(plane)] = 0
    return line


def _choose_psf(
    cube: RadioCube,
    data: Array32,
    continuum: Continuum,
    line: Array32,
    sigma: Float,
    valid: Bool,
    header_beam: tuple[float, float, float] | None,
) -> tuple[Array, str, tuple[float, float, float], Kind]:
    """The psf, its origin, the beam (the header's if given), and the kind of the cube."""
    if cube.psf is not None and cube.kind != "restored":
        psf = cube.psf
        beam = header_beam or fitted_beam(psf[psf.shape[0] // 2])
        if header_beam is None:
            cube.say_beam("fitted to the psf", beam)
        return psf, "given", beam, Kind("dirty", "there is a psf")
    # subtract the continuum everywhere here: an insignificant one still adds to the noise's correlation
    found = psf_from_noise(subtract_continuum(data, continuum, valid, sigma), sigma, valid, header_beam)
    if header_beam is None:
        if found is None:
            cube.require_beam()
            raise InputError("has no beam", "give --beam or --psf", cube.name)
        header_beam = fitted_beam(found[0])
        cube.say_beam("measured from the noise's correlation", header_beam)
    elif found is not None:
        measured = fitted_beam(found[0])
        same = 0.67 < (measured[0] * measured[1]) / (header_beam[0] * header_beam[1]) < 1.5
        if cube.beam_varies or not same:
            found = None  # a cube whose beam changes over the image has no single psf
    noise_psf = None if found is None else found[0]
    kind = kind_of_cube(cube, continuum.level, line, sigma, valid, header_beam, noise_psf)
    if kind.name == "restored" or found is None:
        return gaussian_psf((cube.shape[1], cube.shape[2]), *header_beam)[None], "beam", header_beam, kind
    return found[0][None], "noise" if found[1] else "robust", header_beam, kind

"""Separation of continuum and lines: a straight line in frequency for every pixel, fitted outside lines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, maximum_filter

from faintsky.arrays import Array, Array32, Bool, Float
from faintsky.grid import FWHM_PER_SIGMA

WIDE = 5.0
"""FWHM over which the scatter of the continuum's level is smoothed [beam]."""
_AT_A_TIME = 4096
"""Spectra that are searched for strong lines at once."""


@dataclass(frozen=True)
class Continuum:
    """Straight line in channel number, ``level + slope * (z - middle)``.

    Attributes
    ----------
    level, slope : array
        ``[y, x]``, in the cube's unit, and per channel.
    middle : float
        Channel at which `level` holds.
    level_err : array
        Standard error of `level` where the noise is that of the channels' rms, ``[y, x]``.
    """

    level: Array32
    slope: Array32
    middle: float
    level_err: Array32

    def where(self, present: Bool) -> Continuum:
        """The same, but zero where it is not `present`, ``[y, x]``."""
        level, slope = np.where(present, self.level, 0), np.where(present, self.slope, 0)
        return replace(self, level=level.astype(np.float32), slope=slope.astype(np.float32))

    def less_certain(self, factor: float) -> Continuum:
        """The same with larger errors, where neighbouring channels' noise is correlated."""
        return replace(self, level_err=self.level_err * np.float32(factor))

    def at(self, z: float) -> Array32:
        """Continuum image at channel `z`."""
        return self.level + self.slope * np.float32(z - self.middle)

    def cube(self, n_chan: int) -> Array32:
        """Continuum of every channel, ``[chan, y, x]``."""
        z = (np.arange(n_chan) - self.middle).astype(np.float32)
        return self.level + z[:, None, None] * self.slope


def _common_fit(
    cube: torch.Tensor, weight: torch.Tensor, z: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """`_line_fit` of whole images ``[chan, y, x]`` with one weight for each channel, ``[chan]``."""
    unit = torch.eye(cube.shape[0], device=cube.device)
    level, slope, variance = _line_fit(unit, weight[:, None].expand(-1, cube.shape[0]), z)
    both = (torch.stack([level, slope]) @ cube.flatten(1)).view(2, *cube.shape[1:])
    return both[0], both[1], variance[0].expand(cube.shape[1:]).clone()


def _line_fit(
    columns: torch.Tensor, w: torch.Tensor, z: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Weighted straight line through every column ``[chan, n]``: level, slope and variance of the level."""
    powers = torch.stack([torch.ones_like(z), z, z * z])
    s0, s1, s2 = powers @ w
    t0, t1 = powers[:2] @ (w * columns)
    det = s0 * s2 - s1 * s1
    # one usable channel, or none, does not determine a slope
    sloped = det > 1e-6 * (s0 * s2).clamp_min(1e-30)
    safe_det = torch.where(sloped, det, torch.ones_like(det))
    slope = torch.where(sloped, (s0 * t1 - s1 * t0) / safe_det, torch.zeros_like(det))
    safe = s0.clamp_min(1e-30)
    level = torch.where(s0 > 0, (t0 - slope * s1) / safe, torch.zeros_like(s0))
    return level, slope, torch.where(sloped, s2 / safe_det, 1 / safe)


def fit_continuum(
    cube: torch.Tensor,
    sigma: Float,
    *,
    line_mask: torch.Tensor | None = None,
    order: int = 1,
    without: Sequence[tuple[Array, Array]] = (),
) -> Continuum:
    """Fit every pixel's continuum over the channels outside `line_mask`.

    Parameters
    ----------
    cube : torch.Tensor
        ``[chan, y, x]``; blanks are NaN.
    sigma : array
        Rms of every channel, ``[chan]``; 0 excludes a channel.
    line_mask : torch.Tensor of bool, optional
        True where there is line emission or absorption; same shape, or coarser by a whole factor in y, x.
    order : {0, 1}
        Constant or straight line.
    without : sequence of (array, array), optional
        Models to subtract from the cube first: spectra ``[chan]`` times images ``[y, x]``.

    Returns
    -------
    Continuum
    """
    n = cube.shape[0]
    middle = (n - 1) / 2
    z = (torch.arange(n, dtype=torch.float32, device=cube.device) - middle) / max(n, 1)
    good = torch.as_tensor(np.where(sigma > 0, np.where(sigma > 0, sigma, 1.0) ** -2.0, 0.0))
    scale = float(good.max().clamp_min(1e-300))
    w_chan = (good / scale).to(torch.float32).to(cube.device)
    basis = z if order else torch.zeros_like(z)
    # pixels without a line or a blank all have the same weights: one matrix product does them
    parts = [[torch.as_tensor(np.asarray(a, np.float32), device=cube.device) for a in p] for p in without]
    level, slope, variance = _common_fit(cube, w_chan, basis)
    for spectrum, image in parts:
        own = _common_fit(spectrum[:, None, None], w_chan, basis)
        level, slope = level - own[0] * image, slope - own[1] * image
    # a blank without weight would still give 0 times NaN
    special = ~torch.isfinite(level)
    if line_mask is not None:
        special |= upsampled(line_mask.any(0)[None], cube.shape[1:])[0]
    j, i = torch.nonzero(special, as_tuple=True)
    if j.numel():
        columns = cube[:, j, i]
        for spectrum, image in parts:
            columns -= spectrum[:, None] * image[j, i]
        finite = torch.isfinite(columns)
        weight = finite * w_chan[:, None]
        if line_mask is not None:
            factor = -(-cube.shape[1] // line_mask.shape[1])
            weight = weight * ~line_mask[:, j // factor, i // factor]
        fitted = _line_fit(torch.where(finite, columns, torch.zeros((), device=cube.device)), weight, basis)
        for target, part in zip((level, slope, variance), fitted):
            target[j, i] = part
    return Continuum(
        level.cpu().numpy(),
        (slope / max(n, 1)).cpu().numpy(),
        middle,
        (variance / scale).sqrt().cpu().numpy().astype(np.float32),
    )


def left_out(closed: torch.Tensor, lines: torch.Tensor) -> torch.Tensor:
    """Voxels not used for a continuum beside galaxies.

    Parameters
    ----------
    closed, lines : torch.Tensor of bool
        Voxels of galaxies and of lines, ``[chan, y, x]``; lines count where half of the channels stay.

    Returns
    -------
    torch.Tensor of bool
        ``[chan, y, x]``
    """
    both = closed | lines
    return torch.where(both.sum(dim=0) < len(both) / 2, both, closed)


def upsampled(mask: torch.Tensor, shape: torch.Size | tuple[int, int]) -> torch.Tensor:
    """Repeat a mask that is coarser by a whole factor to `shape` ``(n_y, n_x)``."""
    if tuple(mask.shape[1:]) == tuple(shape):
        return mask
    factor = -(-shape[0] // mask.shape[1])
    big = mask.repeat_interleave(factor, 1).repeat_interleave(factor, 2)
    return big[:, : shape[0], : shape[1]]


def find_strong_lines(
    cube: torch.Tensor,
    *,
    kappa: float = 5.0,
    grow: float = 2.0,
    widening: Callable[[int], float] | None = None,
) -> torch.Tensor:
    """Voxels of lines so strong that they would bend a continuum fitted through them.

    Every pixel's spectrum, minus its median, is averaged over 1, 3 and 9 channels. Voxels above `kappa`
    standard deviations are masked, and the mask grows along frequency as long as the three-channel average
    stays above `grow`. Weak lines stay unmasked on purpose: a mask that follows the noise makes noise peaks
    more significant than they are. The filter bank allows for what the fit subtracts from them.

    Parameters
    ----------
    cube : torch.Tensor
        ``[chan, y, x]`` in units of each channel's rms; blank is NaN.
    kappa, grow : float
        Thresholds in standard deviations of the averaged spectrum.
    widening : callable, optional
        Noise of an average over a number of channels, over that of independent ones.

    Returns
    -------
    torch.Tensor of bool
        True where there is a strong line.
    """
    flat = cube.flatten(1)
    # in chunks of pixels that stay in the processor's cache
    wider = (1.0, 1.0) if widening is None else (widening(3), widening(9))
    parts = [_strong_lines(part, kappa, grow, *wider) for part in flat.split(_AT_A_TIME, dim=1)]
    return torch.cat(parts, dim=1).view(cube.shape)


def _strong_lines(
    columns: torch.Tensor, kappa: float, grow: float, three: float, nine: float
) -> torch.Tensor:
    """`find_strong_lines` of spectra ``[chan, n]``."""
    n = columns.shape[0]
    residual = columns - _medians(columns)
    residual[~torch.isfinite(residual)] = 0
    place = torch.arange(n, device=columns.device, dtype=columns.dtype)

    def count(reach: int) -> torch.Tensor:
        """Square root of the number of channels within `reach` to either side."""
        return (place.clamp_max(reach) + (n - 1 - place).clamp_max(reach) + 1).sqrt()[:, None]

    # sums over three channels, and from these over nine, of spectra continued by 0
    threes = torch.nn.functional.pad(residual, (0, 0, 4, 4))
    threes = threes[:-2] + threes[1:-1] + threes[2:]
    smooth = threes[3:-3] / (three * count(1)) if n >= 3 else residual
    seeds = (residual.abs() > kappa) | (smooth.abs() > kappa)
    if n >= 27:
        nines = threes[:-6] + threes[3:-3] + threes[6:]
        seeds |= nines.abs() > kappa * nine * count(4)
    pixels = seeds.any(0)
    if not bool(pixels.any()):
        return seeds
    # grow only in the few pixels with a line
    mask, reach = seeds[:, pixels], smooth[:, pixels].abs() > grow
    for _ in range(n):
        wider = mask.clone()
        wider[1:] |= mask[:-1] & reach[1:]
        wider[:-1] |= mask[1:] & reach[:-1]
        if bool((wider == mask).all()):
            break
        mask = wider
    edge = mask.clone()
    edge[1:] |= mask[:-1]
    edge[:-1] |= mask[1:]
    # where nearly everything is masked, a biased continuum is better than none
    edge &= edge.sum(0, keepdim=True) <= 0.7 * n
    seeds[:, pixels] = edge
    return seeds


def _medians(columns: torch.Tensor) -> torch.Tensor:
    """Median of every column without its NaNs; the lower one of an even number of values."""
    if columns.device.type != "cpu":
        return torch.nanmedian(columns, dim=0).values
    # NumPy's partition is ten times faster than PyTorch's median
    middle = (columns.shape[0] - 1) // 2
    rows = np.ascontiguousarray(columns.numpy().T)
    rows.partition(middle, axis=1)
    medians = torch.as_tensor(rows[:, middle])
    holed = torch.nonzero(torch.isnan(columns.sum(0))).flatten()
    if holed.numel():
        medians[holed] = torch.nanmedian(columns[:, holed], dim=0).values
    return medians


@lru_cache(maxsize=2)
def _smoothing(n: int, sigma: float) -> Float:
    """`scipy.ndimage.gaussian_filter` along an axis of `n` as a matrix: faster where `sigma` is large."""
    return np.asarray(gaussian_filter1d(np.eye(n), sigma, axis=0))


def continuum_present(
    continuum: Continuum,
    valid: Bool,
    beam_pixels: float,
    without_lines: Callable[[NDArray[np.int_], NDArray[np.int_]], Float] | None = None,
    asked: str = "auto",
    doubt: Array | float = 0.0,
    bowls: bool = False,
) -> Bool:
    """Where there is continuum at all.

    Subtracting a continuum where there is none costs a line of 12 channels in 128 some 7 % of its S/N. There
    is one within two beams of a level above four standard errors, and wherever the levels scatter by a
    quarter more than their errors over an area of some eighty beams, as in the sidelobes of bright sources.

    Parameters
    ----------
    continuum : Continuum
    valid : array of bool
        ``[y, x]``
    beam_pixels : float
        FWHM of the beam [pixel].
    without_lines : callable, optional
        `LineFree` of the same cube, asked wherever a level stands out.
    asked : {"auto", "fit", "none"}
        What the user says: ``fit``, everywhere; ``none``, nowhere.
    doubt : array or float, optional
        What else may be in the levels beside noise, rms, ``[y, x]``.
    bowls : bool, optional
        Whether there are galaxies, around which levels are shifted: then only positive levels count as
        sources, and only scatter to both sides counts as more than noise.

    Returns
    -------
    array of bool
        ``[y, x]``
    """
    if asked != "auto":
        return valid & (asked == "fit")
    z = np.where(valid, continuum.level / np.maximum(continuum.level_err, 1e-30), 0.0)
    if without_lines is not None:
        at = np.nonzero(np.abs(z) > ASKED)
        z[at] = np.sign(z[at]) * np.minimum(np.abs(z[at]), without_lines(*at))
    z /= np.sqrt(1 + (doubt / np.maximum(continuum.level_err, 1e-30)) ** 2)
    wide = WIDE * beam_pixels / FWHM_PER_SIGMA
    along_y, along_x = (_smoothing(n, wide) for n in valid.shape)
    power = np.minimum(z**2, 16.0)

    def smooth(a: Array) -> Float:
        return np.asarray(along_y @ a @ along_x.T)

    sides = [power * (z > 0), power * (z < 0)]
    square = 2 * np.minimum(*map(smooth, sides)) if bowls else smooth(power)
    local = square / np.maximum(smooth(valid.astype(float)), 1e-3)
    near = maximum_filter(z if bowls else np.abs(z), size=2 * int(2 * beam_pixels) + 1)
    # one peak of the noise may stand that high somewhere: without a sure one there is none at all
    return (local > 1.6) | ((near > 4.5) & (near.max() > CERTAIN))


def curvature(frequencies: Float, beams: float) -> float:
    """Movement of sidelobes over a band [beam], at a distance of `beams` from their source.

    The distance scales as the wavelength. A straight line in frequency does not follow movements of more than
    about half a beam.
    """
    return float(np.ptp(frequencies) / np.mean(frequencies)) * beams


ASKED = 2.5
"""Standard errors of a level above which it is measured again without lines."""
LINE = 4.0
"""Standard errors of a line that is left out there."""
CERTAIN = 5.3
"""Standard errors of a level that noise does not reach in thousands of beams."""
WIDTHS = (4.0, 6.0, 9.0, 13.0, 20.0, 30.0, 45.0)
"""FWHM of the lines that are looked for [channel]."""
BESIDE = 1.4
"""Channels within this many FWHMs of a line do not count as free of it."""
MOST_LINES = 4
"""Number of lines looked for in a spectrum."""
COLUMNS = 2048
"""Number of spectra whose lines are compared at a time."""


def one(channels: int) -> float:
    """`LineFree.widening` of independent channels."""
    return 1.0


@dataclass(frozen=True)
class LineFree:
    """F-test of a straight line in the channels of a spectrum that are free of lines.

    A wide line, and the wings of a strong one, have a mean like a continuum, but nothing elsewhere.

    Attributes
    ----------
    columns : callable
        Gives spectra ``[chan, n]`` of pixels ``y, x``, with lines and continuum, in the cube's unit.
    sigma : array
        Rms of every channel, ``[chan]``; 0 where blank.
    widening : callable
        Noise of the mean of a number of channels, over that of independent ones.
    quiet : array of bool, optional
        Channels without strong lines anywhere in the image, if there are enough.
    """

    columns: Callable[[NDArray[np.int_], NDArray[np.int_]], Array]
    sigma: Float
    widening: Callable[[int], float] = one
    quiet: Bool | None = None

    def __call__(self, y: NDArray[np.int_], x: NDArray[np.int_]) -> Float:
        """Standard errors by which the level in line-free channels differs from 0, ``[n]``."""
        n = len(self.sigma)
        used = self.sigma > 0
        if self.quiet is not None and (used & self.quiet).sum() >= max(8, n / 8):
            used = used & self.quiet
        data = self.columns(y, x).astype(float) / np.where(used, self.sigma, 1.0)[:, None]
        free = np.isfinite(data) & used[:, None]
        data = np.where(free, data, 0.0)
        z = np.arange(n)
        q, _ = np.linalg.qr(np.stack([used * 1.0, used * (z - z.mean())]).T)
        widths = [w for w in WIDTHS if w < n / 2] or [WIDTHS[0]]
        rows = []
        for w in widths:
            row = np.exp(-4 * np.log(2) * ((z[None] - z[:, None]) / w) ** 2) * used
            row -= (row @ q) @ q.T
            norm = np.linalg.norm(row, axis=1, keepdims=True) * self.widening(int(w))
            rows.append(row / np.maximum(norm, 1e-9))
        bank, width = np.concatenate(rows), np.repeat(widths, n)
        open_ = np.arange(data.shape[1])
        for _ in range(MOST_LINES):
            # in double precision: a bright continuum would leave rounding errors like lines
            best, value = _strongest(bank, data[:, open_] - q @ (q.T @ data[:, open_]))
            there = value > LINE
            open_, best = open_[there], best[there]
            if not open_.size:
                break
            near = np.abs(z[:, None] - best % n) < BESIDE * width[best]
            free[:, open_] &= ~near
            level, slope, middle, _ = _free_line(data[:, open_], free[:, open_], z)
            data[:, open_] = np.where(near, level + slope * (z[:, None] - middle), data[:, open_])
        level, _, _, count = _free_line(data, free, z)
        error = self.widening(n) / np.sqrt(np.maximum(count, 1))
        return np.where(count < max(4, n / 16), 0.0, np.abs(level) / error)


def _strongest(bank: Float, data: Float) -> tuple[NDArray[np.int_], Float]:
    """The line of the bank ``[line, chan]`` with the largest absolute value in each column, and that value.

    In single precision, and for some columns at a time: what is compared stays in the processor's cache.
    """
    lines = torch.as_tensor(bank.T, dtype=torch.float32).contiguous()
    spectra = torch.as_tensor(data.T, dtype=torch.float32).contiguous()
    found = [(part @ lines).abs_().max(dim=1) for part in spectra.split(COLUMNS)]
    best, value = (torch.cat([f[k] for f in found]).numpy() for k in (1, 0))
    return best, value


def _free_line(data: Float, free: Bool, z: NDArray[np.int_]) -> tuple[Float, Float, Float, NDArray[np.int_]]:
    """Straight lines through free channels, ``[n]`` each: level, slope, channel of the level, channels."""
    count = free.sum(axis=0)
    middle = (free * z[:, None]).sum(axis=0) / np.maximum(count, 1)
    level = (free * data).sum(axis=0) / np.maximum(count, 1)
    u = z[:, None] - middle
    slope = (free * u * data).sum(axis=0) / np.maximum((free * u * u).sum(axis=0), 1e-9)
    return level, slope, middle, count

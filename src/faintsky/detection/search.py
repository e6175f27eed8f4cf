"""Search of a cube, and reliabilities: candidates compared with the noise peaks on the negative side."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from faintsky.arrays import Array32, Bool, Float
from faintsky.beams import beam_pixels
from faintsky.detection.counts import SURE, NoisePeaks, against_negatives, fit_counts, likeness
from faintsky.detection.fits import LineSource
from faintsky.detection.matched_filter import FilterBank, decimation
from faintsky.detection.pursuit import Component, Pursuit, ResidualCube, SourceImager
from faintsky.detection.resolved import (
    Resolved,
    closed_to_continuum,
    judge_galaxies,
    occupied,
    resolved_emission,
)
from faintsky.image import RadioCube
from faintsky.preparing import PreparedCube, channel_rms, left_out, prepare_cube

COUNT_FROM = 3.8
"""S/N above which noise peaks are counted: lower ones are crowded."""
FEW_PEAKS = 50
"""With fewer counted peaks the amplitude is at least that of pure noise."""
LEFT_OVER = 0.01
"""Fraction of a galaxy's peak that deconvolution and calibration may leave around it."""
RIM = 1.0
"""Distance from the mask of a galaxy within which peaks are part of it [beam]."""
AROUND = 3.0
"""Distance from it within which noise peaks are not counted [beam]."""
ODD = 14.0
"""Negative peaks of this S/N do not predict fainter ones."""
PEAKS_A_BEAM_CHANNEL = 0.11
"""Amplitude of `NoisePeaks` for each beam and channel of pure noise with the default filter bank, as counted
in cubes of 360 x 360 x 128 (0.110) and 64 x 64 x 32 (0.116)."""


def local_peaks(
    values: torch.Tensor, size: tuple[int, int, int], floor: float, within: Sequence[slice] = ()
) -> Float:
    """Values of the local maxima of a cube, sorted.

    Parameters
    ----------
    values : torch.Tensor
        ``[chan, y, x]``
    size : tuple of int
        Sides of the box in which a maximum is the highest; odd.
    floor : float
        Lowest value that counts.
    within : sequence of slice, optional
        Box that the maxima must lie in.

    Returns
    -------
    array
    """
    pad = [s // 2 for s in size]
    at = torch.nonzero(values > floor)
    for axis, span in enumerate(within):
        at = at[(at[:, axis] >= span.start) & (at[:, axis] < span.stop)]
    # few voxels are that high: checking around each is far cheaper than a maximum filter of the cube, and
    # fewer are left after each step
    top = values[tuple(at.T)]
    limits = torch.tensor(values.shape, device=values.device) - 1
    shifts = itertools.product(*(range(-p, p + 1) for p in pad))
    for shift in sorted(shifts, key=lambda s: sum(abs(v) for v in s)):
        near = at + torch.tensor(shift, device=values.device)
        near = torch.minimum(near.clamp_min(0), limits)
        peak = values[tuple(near.T)] <= top
        at, top = at[peak], top[peak]
    return np.sort(top.cpu().numpy().astype(float))


@dataclass(frozen=True)
class PeakCounts:
    """Noise peaks in a cube, or in a part of it.

    Attributes
    ----------
    peaks : array
        S/N of the negative peaks where little was subtracted.
    share : float
        Fraction of the voxels that this covers.
    beam_channels : float
        Beams in the image times channels.
    voxels : float
        Number of voxels: the weight of this part.
    """

    peaks: Float
    share: float
    beam_channels: float
    voxels: float = 1.0

    @property
    def law(self) -> NoisePeaks:
        """The noise peaks expected in the whole part."""
        found = fit_noise_peaks(self.peaks, beam_channels=self.share * self.beam_channels)
        return NoisePeaks(found.amplitude / max(self.share, 0.05), found.stretch)

    @staticmethod
    def together(parts: Sequence[PeakCounts]) -> PeakCounts:
        """The counts of a cube, from those of its parts."""
        voxels = sum(p.voxels for p in parts)
        return PeakCounts(
            np.concatenate([p.peaks for p in parts]), sum(p.share * p.voxels for p in parts) / voxels,
            sum(p.beam_channels for p in parts), voxels,
        )  # fmt: skip


def fit_noise_peaks(peaks: Float, *, beam_channels: float = 0.0, start: float = COUNT_FROM) -> NoisePeaks:
    """Fit amplitude and stretch of the noise peaks' distribution to counted peaks.

    The amplitude matches the count above `start`. The stretch is the maximum-likelihood one, and is used only
    where it exceeds 1 by more than twice its error: real images have heavier tails than noise, never lighter
    ones. With fewer than `FEW_PEAKS` peaks, as in a small cube, the amplitude is at least that of pure noise
    in as many beams and channels.

    Parameters
    ----------
    peaks : array
        S/N of the noise peaks; those below `start` are ignored.
    beam_channels : float
        Beams in the image times channels.

    Returns
    -------
    NoisePeaks
    """
    u = np.asarray(peaks, dtype=float)
    u = u[u > start]
    unit = NoisePeaks(1.0)
    # half a peak where none was seen: no peaks do not prove that there can be none
    if u.size < FEW_PEAKS:
        counted = max(u.size, 0.5) / float(unit.above(start))
        return NoisePeaks(max(counted, PEAKS_A_BEAM_CHANNEL * beam_channels))
    stretches = np.linspace(0.9, 2.0, 221)
    loglike = []
    for s in stretches:
        m = NoisePeaks(1.0, float(s))
        loglike.append(float(np.log(np.maximum(m.density(u) / m.above(start), 1e-300)).sum()))
    like = np.exp(np.array(loglike) - np.max(loglike))
    mean = float((stretches * like).sum() / like.sum())
    error = float(np.sqrt(((stretches - mean) ** 2 * like).sum() / like.sum()))
    stretch = mean if mean - 2 * error > 1.0 else 1.0
    return NoisePeaks(u.size / float(NoisePeaks(1.0, stretch).above(start)), stretch)


def line_reliability(
    snr: ArrayLike, template: ArrayLike, negative: ArrayLike, noise: NoisePeaks, *, n_widths: int,
    listed: Bool | None = None,
) -> Float:  # fmt: skip
    """Probability that each candidate line is real, from S/N and shape, compared with the noise peaks.

    Parameters
    ----------
    snr : array
        Of the candidates; negative in absorption.
    template : array of int
        Template of the filter bank that found each.
    negative : array
        S/N, taken as positive, of negative peaks that are not absorption: artefacts make more of them than
        noise.
    noise : NoisePeaks
        Expected in the whole cube.
    n_widths : int
        Line widths of the filter bank.
    listed : array of bool, optional
        Candidates that make up the list; others are judged as if they were on it. All by default.

    Returns
    -------
    array
        In [0, 1].
    """
    s, kinds, low = np.asarray(snr, dtype=float), np.asarray(template, dtype=int), np.asarray(negative)
    known = np.ones(s.size, bool) if listed is None else listed
    out, law = np.zeros(s.size), noise.fitted
    shapes = likeness(kinds, kinds[known & (np.abs(s) > SURE)], n_widths)
    for sign in (1.0, -1.0):
        its = sign * s > 0
        strength = np.abs(s[its & known])
        out[its] = fit_counts(strength).reliability(np.abs(s[its]), law, strength, shapes[its])
    # candidates within the model error of a brighter one do not count
    out[np.abs(s) < COUNT_FROM] = 0
    high = (s > 0) & (s < ODD)
    out[high] *= against_negatives(s[high], low[low < ODD], law, s[high & known])
    return out


@dataclass
class Search:
    """A cube after its search.

    Attributes
    ----------
    cube : RadioCube
        As opened.
    prepared : PreparedCube
        What was searched.
    pursuit : Pursuit
        Holds all candidates that were subtracted.
    counts : PeakCounts
        Noise peaks in the cube, or in its `core`.
    candidates : list of Component
        Possible sources: on the image, and in emission or in absorption of a continuum.
    negative : list of float
        S/N of the negative ones on the image that are not absorption.
    tried : int
        Candidates of any kind.
    resolved : list of Resolved
        Galaxies that were left out of the search.
    """

    cube: RadioCube
    prepared: PreparedCube
    pursuit: Pursuit
    counts: PeakCounts
    candidates: list[Component]
    negative: list[float]
    tried: int
    resolved: list[Resolved]

    @property
    def noise(self) -> NoisePeaks:
        """The noise peaks that are expected."""
        return self.counts.law

    def keep(self, components: list[Component]) -> None:
        """Put all other components back into the data; the filter bank, no longer used, stays as it is."""
        kept = {id(c) for c in components}
        for c in self.pursuit.components:
            if id(c) not in kept:
                self.pursuit.subtract(c, -1.0)
        self.pursuit.components = [c for c in self.pursuit.components if id(c) in kept]


def search_cube(
    cube: RadioCube,
    settings: Mapping[str, Any],
    *,
    device: str = "cpu",
    say: Callable[[int, str], None] = lambda done, word: None,
    core: Sequence[slice] = (),
    times: float = 1.0,
) -> Search:
    """Find candidates down to the S/N given by `settings`.

    Parameters
    ----------
    cube : RadioCube
        With its psf and primary beam where they are known.
    settings : mapping
        Of the model.
    device : str, optional
        Where PyTorch computes the filter bank.
    say : callable, optional
        Called with steps done and a word.
    core : sequence of slice, optional
        For a part of a cube: the box, ``[chan, y, x]``, in which only this part counts noise peaks.
    times : float, optional
        Size of the whole cube over that of this part.

    Raises
    ------
    InputError
        See `prepare_cube`.
    """
    search = partial(_search, cube, settings, device=device, say=say, core=core, times=times)
    usual = search()
    if not usual.prepared.continuum_hidden:
        return usual
    # sidelobes of lines may pass for a continuum, and a continuum for lines: fewer sources explain it better
    most = len(usual.pursuit.components)
    del usual  # two searches at a time may not fit into the memory
    try:
        return search(most=most)
    except _TooManyError:
        return search()


class _TooManyError(Exception):
    """A search needs more sources than another one of the same cube."""


def _search(
    cube: RadioCube,
    settings: Mapping[str, Any],
    *,
    device: str,
    say: Callable[[int, str], None],
    core: Sequence[slice],
    times: float,
    most: int | None = None,
) -> Search:
    """See `search_cube`; with `most`, at most that many lines are subtracted before any continuum."""
    lines_first = most is not None
    say(0, "noise and continuum")
    prepared = prepare_cube(cube, device=device)
    say(1, "matched filters")
    shape = (cube.shape[1], cube.shape[2])
    imager = SourceImager(prepared.psf, shape, prepared.valid, beam_at=prepared.beam_at(cube))
    step = decimation(prepared.beam_pixels)
    restored = prepared.kind.name == "restored"
    prepared.lines_first = lines_first
    if lines_first:
        prepared.take_out(prepared.continuum, np.zeros_like(prepared.valid))
    resolved = resolved_emission(prepared, cube.mask) if restored else []
    closed = None
    if resolved and prepared.asked != "none":
        closed = torch.as_tensor(closed_to_continuum(resolved, cube.shape, prepared))
        before = prepared.present
        unused = left_out(closed, prepared.strong_lines())
        prepared.take_out(*prepared.find_continuum(unused, bowls=True))
        if (before | prepared.present).any():
            resolved = resolved_emission(prepared, cube.mask)
    taken = occupied(resolved, cube.shape, prepared)
    line = np.where(taken, np.float32(0), prepared.line) if resolved else prepared.line
    pursuit = Pursuit(
        ResidualCube(line),
        prepared.sigma,
        _bank(line[:, ::step, ::step], prepared, device),
        imager,
        prepared.beam_pixels,
        prepared.fidelity,
        prepared.psf_error,
        prepared.channels,
        taken if resolved else None,
        closed,
    )
    # bowls and outskirts of galaxies do not look like noise elsewhere
    far = torch.ones_like(pursuit.guard, dtype=torch.bool)
    for r in resolved:
        near = torch.as_tensor(
            occupied([r], cube.shape, prepared, AROUND)[:, ::step, ::step].copy(), device=far.device
        )
        far &= ~near
        sigma = prepared.sigma[r.box[0]][:, None, None]
        brightest = float((r.inside / np.where(sigma > 0, sigma, np.inf)).max())
        pursuit.around[near] += LEFT_OVER * brightest / prepared.fidelity
    pursuit.guard += pursuit.around

    def law() -> NoisePeaks:
        here = _counts(pursuit, prepared, settings["beam_guard"], far).law
        return replace(here, amplitude=times * here.amplitude)

    quiet = law()
    # no search where data are blank, or outside the user's mask
    outside = np.broadcast_to(~prepared.valid, cube.shape) | taken
    if cube.mask is not None:
        outside = outside | ~cube.mask
    blocked = torch.as_tensor(outside[:, ::step, ::step].copy(), device=pursuit.guard.device)
    say(2, "search")
    pursuit.tell = lambda n: say(2, f"search ({n} candidates)")
    start = _threshold(quiet, settings)
    # some are put back later: they turn out to be continuum
    limit = int(settings["max_sources"]) if most is None else 2 * most + 3
    blocked = pursuit.run(start, blocked=blocked, max_sources=limit)
    for ask in (False, True) if lines_first else (False,):
        if not pursuit.components:
            break
        if most is not None and len(pursuit.components) == limit:
            raise _TooManyError
        if ask:
            _drop_continuum(pursuit, prepared)
        pursuit.refine(1)
        _with_residuals(pursuit, prepared, ask)
        # sidelobes of the sources subtracted now had counted as noise peaks
        start = min(start, _threshold(law(), settings))
        pursuit.run(start, blocked=blocked, max_sources=limit)
        # put back what fell below the threshold once its neighbours were modelled better
        for c in [c for c in pursuit.components if c.snr < 0.95 * start]:
            pursuit.remove(c)
    if most is not None and len(pursuit.components) > most:
        raise _TooManyError
    counts = _counts(pursuit, prepared, settings["beam_guard"], far, core)
    if resolved:
        judge_galaxies(resolved, resolved_emission(prepared, cube.mask, sign=-1), counts.law, prepared)
    rims = occupied(resolved, cube.shape, prepared, RIM)
    within = [
        c
        for c in pursuit.components
        if inside(c.source, cube, pursuit.imager) and not rims[_nearest(c.source, rims)]
    ]
    real = [c for c in within if c.source.amplitude > 0 or _is_absorption(c, prepared)]
    for c in within:
        c.effective_snr = pursuit.lowered_snr(c)
    known = {id(c) for c in real}
    negative = [
        c.effective_snr
        for c in within
        if id(c) not in known and all(s.start <= v < s.stop for v, s in zip(_nearest(c.source, line), core))
    ]
    return Search(cube, prepared, pursuit, counts, real, negative, len(pursuit.components), resolved)


def judge_lines(
    candidates: Sequence[Component],
    negative: Sequence[float],
    noise: NoisePeaks,
    n_widths: int,
    listed: Bool | None = None,
) -> None:
    """Set the reliabilities of a cube's candidates. See `line_reliability` for the arguments."""
    values = line_reliability(
        [np.sign(c.source.amplitude) * c.effective_snr for c in candidates],
        [c.template for c in candidates],
        negative,
        noise,
        n_widths=n_widths,
        listed=listed,
    )
    for c, value in zip(candidates, values):
        c.reliability = float(value)


def _nearest(s: LineSource, cube: NDArray[Any]) -> tuple[int, ...]:
    return tuple(int(np.clip(round(v), 0, n - 1)) for v, n in zip((s.z, s.y, s.x), cube.shape))


def _threshold(noise: NoisePeaks, settings: Mapping[str, Any]) -> float:
    """Lowest S/N at which candidates are tried."""
    return float(np.clip(noise.threshold(settings["noise_peaks_tried"]), *settings["search_range"]))


def _bank(coarse: Array32, prepared: PreparedCube, device: str) -> FilterBank:
    """Filter bank of a line cube, given as every `decimation`-th pixel."""
    inverse = np.where(prepared.sigma > 0, 1 / np.maximum(prepared.sigma, 1e-300), 0.0).astype(np.float32)
    return FilterBank(
        torch.as_tensor(coarse * inverse[:, None, None], device=device),
        prepared.sigma > 0,
        prepared.psf[prepared.psf.shape[0] // 2],
        prepared.beam_pixels,
        continuum_fitted=_continuum_fitted(prepared),
        decimated=True,
        channels=prepared.channels,
    )


def _continuum_fitted(prepared: PreparedCube) -> bool:
    """Whether enough spectra had a straight line subtracted that the templates need the same."""
    return float(prepared.present[prepared.valid].mean()) > 0.2


def _with_residuals(pursuit: Pursuit, prepared: PreparedCube, ask: bool = False) -> None:
    """Measure continuum and noise again without the sources, and continue with them.

    Lines too weak to be masked bend the continuum around them, which makes troughs that look like absorption,
    and sidelobes count as noise. With `ask`, look for a continuum where none was subtracted so far.
    """
    before = prepared.continuum.where(prepared.present & prepared.valid)
    bent = ask or bool(prepared.present.any())
    if bent:
        pursuit.new_line_cube(prepared)
    step = 2 if min(prepared.valid.shape) >= 64 else 1
    every = slice(None, None, step)
    coarse, valid = pursuit.data.box(slice(None), every, every), prepared.valid[every, every]
    if pursuit.taken is not None:
        coarse[pursuit.taken[:, every, every]] = np.nan
    sigma = np.where(prepared.sigma > 0, channel_rms(coarse, valid), 0.0)
    used = prepared.sigma > 0
    # the residual has lost a share to the continuum; only bright channels may get less noise
    scale = np.median(prepared.sigma[used] / np.maximum(sigma[used], 1e-300))
    sigma = np.minimum(sigma * scale, prepared.sigma)
    if bent:
        after = prepared.continuum.where(prepared.present & prepared.valid)
        pursuit.shift(after.level - before.level, np.ones(sigma.size))
        pursuit.shift(after.slope - before.slope, np.arange(sigma.size) - after.middle)
    elif np.max(prepared.sigma[used] / np.maximum(sigma[used], 1e-300)) < 1.06:
        return
    prepared.sigma = sigma
    pursuit.rescale(sigma, _continuum_fitted(prepared))


def _drop_continuum(pursuit: Pursuit, prepared: PreparedCube) -> None:
    """Put back wide lines, or lines at the ends of the band, that are really continuum."""
    n = prepared.sigma.size
    doubtful = [c for c in pursuit.components if c.source.fwhm_z > n / 2 or cut_off(c.source, n)]
    for c in doubtful:
        pursuit.remove(c)
    _, present = pursuit.continuum_left(prepared)
    for c in doubtful:
        if not present[_nearest(c.source, prepared.line)[1:]]:
            pursuit.add(c.source)


def _counts(
    pursuit: Pursuit, prepared: PreparedCube, guard: float, far: torch.Tensor, core: Sequence[slice] = ()
) -> PeakCounts:
    """The residual's negative peaks, except where much was subtracted."""
    clear = (pursuit.guard < guard / prepared.fidelity) & far
    low = pursuit.peaks.lows_below(-COUNT_FROM, clear)
    step = pursuit.bank.step
    width = 2 * max(1, round(0.5 * prepared.beam_pixels / step)) + 1
    side = torch.where(clear, low, torch.zeros((), device=low.device)).neg_()
    whole = tuple(slice(0, n) for n in prepared.line.shape)
    inner = tuple(core) or whole
    few = [inner[0], *(slice(-(-s.start // step), -(-s.stop // step)) for s in inner[1:])]
    peaks = local_peaks(side, (5, width, width), COUNT_FROM, few)
    clear = clear[tuple(few)]
    beams = float(prepared.valid[inner[1:]].sum()) / float(beam_pixels(prepared.beam, 1.0)[0])
    channels = int((prepared.sigma[inner[0]] > 0).sum())
    return PeakCounts(peaks, float(clear.float().mean()), beams * channels, clear.numel())


def inside(s: LineSource, cube: RadioCube, imager: SourceImager) -> bool:
    """Whether a source's centre can be measured, and lies where the user wants to look.

    Parameters
    ----------
    s : LineSource
    cube : RadioCube
    imager : SourceImager

    Returns
    -------
    bool
    """
    if not imager.covers(s) or not cube.holds_data(s.x, s.y, s.z, s.fwhm_z):
        return False
    if cube.mask is None:
        return True
    k = int(np.clip(round(s.z), 0, cube.mask.shape[0] - 1))
    return bool(cube.mask[k, round(s.y), round(s.x)])


def cut_off(s: LineSource, n_chan: int) -> bool:
    """Whether a line wider than an eighth of the band extends beyond its end."""
    reach = 0.5 * s.fwhm_z
    return s.fwhm_z > n_chan / 8 and not reach - 0.5 <= s.z <= n_chan - 0.5 - reach


def _is_absorption(c: Component, prepared: PreparedCube) -> bool:
    """Whether a negative source counts as absorption: there must be a continuum to absorb.

    A broad one that the band cuts off does not count: the continuum's own curvature looks like that.
    """
    s = c.source
    if cut_off(s, prepared.sigma.size):
        return False
    y, x = round(s.y), round(s.x)
    h, w = prepared.continuum.level.shape
    if not (0 <= y < h and 0 <= x < w and prepared.present[y, x]):
        return False
    level = float(prepared.continuum.at(s.z)[y, x])
    error = float(prepared.continuum.level_err[y, x])
    return level > 5 * error and s.peak < level + 3 * s.peak / max(c.snr, 1.0)

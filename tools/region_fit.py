"""Fit of a denoising model's settings on simulated fields: calibration, thresholds, errors, reliability."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from scipy.optimize import minimize

from faintsky.denoising import (
    DenoiserSettings,
    RegionSettings,
    denoise_image,
    estimate,
    measure,
    pointed,
    segment,
    smoothed,
    sum_error,
)
from faintsky.detection import detect_image
from faintsky.image import RadioImage

if TYPE_CHECKING:
    from torch import nn

Array32 = NDArray[np.float32]
LEVELS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 64.0)
"""Mean over rms at which the calibration's factors hold."""
SPREADS = (0.03, 0.06, 0.12, 0.25, 0.5, 1.0, 2.0)
"""The network's standard deviation over rms at which they do."""
ENOUGH = 1000
"""Least number of pixels for a factor."""
SHARES = {0.6827: 1.0, 0.95: 1.96}
"""Shares of a Gaussian within so many standard deviations."""
SEEDS, GROWN = (1.75, 2.5, 3.5, 5.0), (0.5, 1.0, 1.2, 1.4, 1.7, 2.2)
"""Thresholds of mean over sigma that are tried."""
SMOOTHS, CAPS = (1.1, 1.4, 1.8), (0.3, 0.45, 0.6)
"""Smoothing lengths, over the root of a region's least area, and caps that are tried."""
SEED_OVER_GROWN = 1.6
"""Of the thresholds on the smoothed image."""
GAIN = 0.02
"""Share of the faint emission that smoothing has to add."""
LENGTHS = (1.0, 3.0, 9.0)
"""Lengths of the Gaussians that the errors' correlation is made of, in roots of a region's least area."""
APERTURES, APERTURES_A_FIELD = (1.0, 5.0, 20.0), 60
"""Areas of apertures over the least one, which is a beam, or that of a region of white noise; and how many
are laid out in each field, half of them on emission."""
TAKEN = 0.3
"""Brightness over rms of compact sources that were taken out, from which on a pixel's error is theirs."""
TRUE_LEVEL = 0.5
"""True brightness over rms above which a pixel belongs to a source, for the thresholds' score."""
FAINT_RANGE, EMISSION = (0.3, 1.0), 0.1
"""True brightness over rms of the pixels that are to be found, and from which on a pixel holds emission."""
CUT, SURE = 0.9, 0.92
"""Reliability at which the rate of false regions is held; share of the labelled area that is to hold
emission, with something to spare for skies unlike these."""


@dataclass(frozen=True)
class Sample:
    """A simulated field with what a network made of it, in units of the measured rms.

    Attributes
    ----------
    mean, sigma, truth : array
        Denoised image, its standard deviation by the network, the true sky at the beam's resolution.
    beam : tuple of float or None
        FWHMs [pixel] and position angle [deg].
    beam_area : float
        [pixel]; 1 for white noise.
    empty : bool
        Whether regions are false: there is noise, and no more than compact sources that were taken out.
    known : array of bool
        Where the truth is that of what the network was shown.
    """

    mean: Array32
    sigma: Array32
    truth: Array32
    beam: tuple[float, float, float] | None
    beam_area: float
    empty: bool
    known: NDArray[np.bool_]

    def calibrated(self, settings: RegionSettings) -> Array32:
        """`sigma` as the settings have it."""
        return settings.calibrated(self.mean, self.sigma, self.beam_area)


def whole_sample(
    image: RadioImage, truth: Array32, network: nn.Module, empty: bool, device: str = "cpu"
) -> Sample | None:
    """A field that the network sees whole, of white noise or dirty; None where starlets had to answer.

    Parameters
    ----------
    image : RadioImage
        With its psf where it is dirty.
    truth : array
        Its true sky, at its resolution and in its unit, ``[y, x]``.
    network : torch.nn.Module
        On `device`.
    empty : bool
        See `Sample`.
    device : str, optional
        A torch device.
    """
    found = denoise_image(image, network, DenoiserSettings(), device=device)
    p = found.prepared
    if any("the network fails" in note for note in found.notes):
        return None
    mean, sigma, true = (
        np.nan_to_num(v / p.rms).astype(np.float32) for v in (found.image, found.uncertainty, truth)
    )
    return Sample(mean, sigma, true, p.beam, p.beam_area, empty, p.valid)


def apart_sample(
    image: RadioImage, truth: Array32, network: nn.Module, empty: bool, device: str = "cpu"
) -> Sample:
    """A restored field whose compact sources are taken out before the network sees it.

    Parameters
    ----------
    image, truth, network, empty, device
        As for `whole_sample`. In an empty field all that is left of compact sources is false.
    """
    seen: list[Sample] = []
    settings = RegionSettings()

    def eye(p):  # type: ignore[no-untyped-def]
        used, mean, sigma = estimate(network, p, device=device)
        taken = image.data - p.data
        rest = np.zeros_like(mean) if empty else ((truth - taken) / used.rms).astype(np.float32)
        known = p.valid & (np.abs(taken) < TAKEN * used.rms)
        seen.append(Sample(mean, sigma, rest, used.beam, used.beam_area, empty, known))
        return used, mean, settings.calibrated(mean, sigma, used.beam_area), settings

    detect_image(replace(image, kind="restored"), eye=eye, always=True)
    (sample,) = seen
    return sample


def fit_settings(
    samples: Sequence[Sample], start: RegionSettings, *, rate: float, raised: bool = False
) -> tuple[RegionSettings, dict[str, Any]]:
    """Settings that make errors honest and false regions rare.

    Parameters
    ----------
    samples : sequence of Sample
        Fields with and without emission, of one kind of noise, never trained on.
    start : RegionSettings
        Where to begin: its least area and least brightness are kept.
    rate : float
        False regions of reliability `CUT` and above for each beam (pixel, for white noise) without emission.
    raised : bool, optional
        Whether to raise reliabilities until that rate is reached, or one in ten of all is false: for regions
        that other tests have to confirm.

    Returns
    -------
    settings : RegionSettings
    scores : dict
        What they reach on the same fields.
    """
    smooth_ones, points = (
        tuple(tuple(round(float(f), 3) for f in row) for row in factors) for factors in _calibration(samples)
    )
    fitted = changed(
        start, sigma_at=LEVELS, sigma_raw=SPREADS, sigma_factor=smooth_ones, sigma_factor_points=points
    )
    fitted = _with_correlation(samples, fitted)
    best: tuple[float, RegionSettings, dict[str, Any]] | None = None
    for seed, grow in product(SEEDS, GROWN):
        if seed <= grow:
            continue
        trial = changed(fitted, seed=(seed, start.seed[1]), grow=(grow, start.grow[1]))
        made, scores = _fit_regions(samples, trial, rate, raised)
        if best is None or scores["dice"] > best[0]:
            best = scores["dice"], made, scores
    assert best is not None
    _, made, scores = best
    root = float(np.sqrt(start.least_area))
    for smooth, cap in product(SMOOTHS, CAPS):
        trial = changed(made, smooth=round(smooth * root, 2), cap=cap)
        tried = _fit_regions(samples, _with_faint(samples, trial), rate, raised)
        if _worth(tried[1]) > _worth(scores) + (0 if made.smooth else GAIN):
            made, scores = tried
    return made, scores


def changed(settings: RegionSettings, **values: Any) -> RegionSettings:
    """The same but for some values."""
    return settings.model_copy(update=values)


def _with_faint(samples: Sequence[Sample], settings: RegionSettings) -> RegionSettings:
    """The lowest thresholds on the smoothed image at which `SURE` of what they label holds emission."""
    values, emission = [], []
    for s in samples:
        everywhere = np.ones(s.mean.shape, dtype=bool)
        values.append(smoothed(s.mean, everywhere, settings, s.beam_area).ravel())
        emission.append((s.truth >= EMISSION).ravel())
    order = np.argsort(-np.concatenate(values), kind="stable")
    true = np.cumsum(np.concatenate(emission)[order]) / np.arange(1, len(order) + 1)
    last = np.flatnonzero(true >= SURE)
    level = float(np.concatenate(values)[order[last[-1]]]) if len(last) else settings.cap
    # nothing is brighter than the cap
    seed = min(SEED_OVER_GROWN * level, (level + 4 * settings.cap) / 5)
    return changed(settings, faint=(round(seed, 4), round(level, 4)))


def _worth(scores: dict[str, Any]) -> float:
    """How much faint emission is found, as long as what is labelled is emission."""
    return float(scores["faint_found"] - 10 * max(CUT - scores["emission_true"], 0))


def honest(pulls: NDArray[np.floating]) -> float:
    """The factor on standard errors with which 68 and 95 % lie within 1 and 1.96 of them.

    Where no factor reaches both, 68 are missed by as much as 95. Outliers do not count, or a few lone noise
    peaks would rule the errors of all smooth emission beside them.

    Parameters
    ----------
    pulls : array
        Errors over standard errors, of any sign.
    """
    reached = np.quantile(np.abs(pulls), list(SHARES)) / list(SHARES.values())
    return float(np.exp(np.log(np.maximum(reached, 1e-3)).mean()))


def _calibration(samples: Sequence[Sample]) -> NDArray[np.float64]:
    """Factors on sigma that make it `honest`, ``[2, LEVELS, SPREADS]``: smooth emission, points.

    Where a pair of level and spread is hardly ever met, the nearest one's factor holds.
    """
    levels = [LEVELS[1] / 2, *(np.sqrt(a * b) for a, b in pairwise(LEVELS[1:]))]
    spreads = [np.sqrt(a * b) for a, b in pairwise(SPREADS)]
    shape = 2, len(LEVELS), len(SPREADS)
    pulls, cells = [], []
    for s in samples:
        level = np.abs(s.mean)
        at = (
            pointed(level, s.beam_area).astype(int),
            np.digitize(level, levels),
            np.digitize(s.sigma, spreads),
        )
        pulls.append(((s.mean - s.truth) / s.sigma)[s.known])
        cells.append(np.ravel_multi_index(at, shape)[s.known])
    pull, cell = np.concatenate(pulls), np.concatenate(cells)
    order = np.argsort(cell, kind="stable")
    count = np.bincount(cell, minlength=int(np.prod(shape)))
    parts = np.split(pull[order], np.cumsum(count)[:-1])
    factor = np.array([honest(p) if len(p) > ENOUGH else 1.0 for p in parts])
    tables, known = factor.reshape(shape), (count > ENOUGH).reshape(shape)
    if not known.any():
        raise ValueError("too few pixels to fit on: simulate more fields")
    out = []
    for own, theirs, seen, other in zip(tables, tables[::-1], known, known[::-1]):
        own, seen = (own, seen) if seen.any() else (theirs, other)
        nearest = distance_transform_edt(~seen, sampling=(1, 2), return_distances=False, return_indices=True)
        out.append(own[tuple(nearest)])
    return np.array(out)


def _with_correlation(samples: Sequence[Sample], settings: RegionSettings) -> RegionSettings:
    """The correlation of the errors that makes those of apertures honest, on average over their sizes."""
    least = max(settings.least_area, 1.0)
    lengths = tuple(round(float(k * np.sqrt(least)), 2) for k in LENGTHS)
    rows, sizes = [], []
    for i, s in enumerate(samples):
        rng, sigma = np.random.default_rng([i, s.mean.size]), s.calibrated(settings)
        own = least * (s.beam_area if s.beam is not None else 1.0)
        kernels = [
            changed(settings, error_lengths=(k,), error_weights=(1.0,)).error_kernel(
                s.beam, max(s.mean.shape)
            )
            for k in lengths
        ]
        places = np.argwhere(s.known)
        # by what is seen: an error is that of the truth, given the data
        bright = np.argwhere(s.known & (s.mean > TRUE_LEVEL))
        for n in range(APERTURES_A_FIELD):
            area = APERTURES[n % len(APERTURES)]
            radius = np.sqrt(area * own / np.pi)
            lit = bright if n % 2 and len(bright) else places
            y, x = lit[rng.integers(len(lit))]
            reach = int(radius) + 1
            box = tuple(slice(max(c - reach, 0), min(c + reach + 1, n)) for c, n in zip((y, x), s.mean.shape))
            yy, xx = np.ogrid[box]
            inside = (np.hypot(yy - y, xx - x) <= radius) & s.known[box]
            miss = float((s.mean - s.truth)[box][inside].sum())
            rows.append([miss, *(sum_error(np.where(inside, sigma[box], 0), k) for k in kernels)])
            sizes.append(n % len(APERTURES))
    table, size = np.array(rows), np.array(sizes)
    miss, squares = np.abs(table[:, 0]), table[:, 1:] ** 2

    def loss(p: NDArray[np.float64]) -> float:
        spread = np.sqrt(squares @ np.exp(p))
        z = miss / spread
        each = np.where(z < 2, z * z / 2, 2 * z - 2) + np.log(spread / np.sqrt(squares[:, 0]))
        return float(sum(each[size == k].mean() for k in range(len(APERTURES))))

    fit = minimize(loss, np.log(np.full(len(LENGTHS), 1 / len(LENGTHS))), method="Nelder-Mead")
    # the linear part leaves the errors of the many too large
    scale = honest(miss / np.sqrt(squares @ np.exp(fit.x))) ** 2
    weights = tuple(round(float(v), 4) for v in scale * np.exp(fit.x))
    return changed(settings, error_lengths=lengths, error_weights=weights)


@dataclass(frozen=True)
class _Found:
    """Regions of all samples: fluxes, true fluxes, significances, areas [beam], errors, areas of the beams
    [pixel]."""

    flux: NDArray[np.float64]
    truth: NDArray[np.float64]
    peak: NDArray[np.float64]
    area: NDArray[np.float64]
    error: NDArray[np.float64]
    empty: NDArray[np.bool_]
    sample: NDArray[np.int64]
    beam: NDArray[np.float64]

    @property
    def real(self) -> NDArray[np.bool_]:
        """Whether at least half of the flux is there."""
        return self.truth > 0.5 * self.flux


def _fit_regions(
    samples: Sequence[Sample], settings: RegionSettings, rate: float, raised: bool
) -> tuple[RegionSettings, dict[str, Any]]:
    """Flux errors and reliability for given thresholds, and what comes of them."""
    labels = [
        segment(s.mean, s.calibrated(settings), np.isfinite(s.mean), settings, s.beam_area) for s in samples
    ]
    found = _measured(samples, labels, settings)
    if found.real.sum() < 20:
        raise ValueError(f"only {found.real.sum()} real regions to fit on: simulate more fields")
    factor, fraction, floor = _flux_errors(found)
    fitted = changed(settings, error_factor=factor, error_fraction=fraction, error_floor=floor)
    snr = found.flux / fitted.flux_error(found.flux, found.error, found.beam)
    blank = sum(s.mean.size / s.beam_area for s in samples if s.empty)
    weights = _reliability(found, snr, allowed=int(rate * blank), raised=raised)
    fitted = changed(fitted, reliability=weights)
    chosen = fitted.probability(snr, found.peak, found.area) >= CUT
    pulls = ((found.flux - found.truth) / found.flux * snr)[chosen & ~found.empty]
    sure = chosen & found.real
    hit = np.zeros(6)
    for i, (s, own) in enumerate(zip(samples, labels)):
        kept = np.flatnonzero(chosen[found.sample == i]) + 1
        mask, true = np.isin(own, kept), s.truth > TRUE_LEVEL
        faint = (s.truth >= FAINT_RANGE[0]) & (s.truth < FAINT_RANGE[1])
        areas = (mask & true, mask, true, mask & faint, faint, mask & (s.truth >= EMISSION))
        hit += np.array([a.sum() for a in areas]) / s.beam_area
    scores = {
        "dice": float(2 * hit[0] / max(hit[1] + hit[2], 1)),
        "true_area_found": float(hit[0] / max(hit[2], 1)),
        "area_true": float(hit[0] / max(hit[1], 1)),
        "faint_found": float(hit[3] / max(hit[4], 1)),
        "emission_true": float(hit[5] / max(hit[1], 1)),
        "regions": int(chosen.sum()),
        "precision": float(found.real[chosen].mean()) if chosen.any() else np.nan,
        "false_in_empty": int((chosen & found.empty).sum()),
        "empty_beams": float(blank),
        "flux_pull_mean": float(np.mean(pulls)),
        "flux_pull_std": float(np.std(np.clip(pulls, -6, 6))),
        "flux_ratio_median": float(np.median(found.flux[sure] / found.truth[sure])),
    }
    return fitted, scores


def _measured(
    samples: Sequence[Sample], labels: Sequence[NDArray[np.int32]], settings: RegionSettings
) -> _Found:
    rows = []
    for i, (s, own) in enumerate(zip(samples, labels)):
        kernel = settings.error_kernel(s.beam, max(s.mean.shape))
        true = np.bincount(own.ravel(), weights=s.truth.ravel())
        rows += [
            (
                r.flux,
                true[r.number],
                r.significance,
                r.area / s.beam_area,
                r.flux_err,
                s.empty,
                i,
                s.beam_area,
            )
            for r in measure(s.mean, s.calibrated(settings), own, kernel, shapes=False)
        ]
    flux, truth, peak, area, error, empty, sample, beam = np.array(rows, dtype=float).reshape(-1, 8).T
    return _Found(flux, truth, peak, area, error, empty.astype(bool), sample.astype(np.int64), beam)


def _flux_errors(found: _Found) -> tuple[float, float, float]:
    """The factor, fraction and floor of flux errors that make true fluxes most likely."""
    use = found.real & ~found.empty
    miss, flux, beam = (found.flux - found.truth)[use], found.flux[use], found.beam[use]
    # there are many more small regions than large ones, which should count for something, too
    octave = np.round(np.log2(np.maximum(found.area[use], 1))).astype(int)
    weight = 1 / np.sqrt(np.bincount(octave)[octave])
    weight /= weight.sum()
    parts = np.array([found.error[use], flux, beam]) ** 2

    def loss(p: NDArray[np.float64]) -> float:
        spread = np.sqrt(np.exp(2 * p) @ parts)
        # beyond two sigma linear: a few odd regions must not widen all errors
        z = np.abs(miss) / spread
        return float(weight @ (np.where(z < 2, z * z / 2, 2 * z - 2) + np.log(spread)))

    fit = minimize(loss, np.log([1.0, 0.05, 0.5]), method="Nelder-Mead")
    # the linear part leaves the errors of the many too large
    pull = np.abs(miss) / np.sqrt(np.exp(2 * fit.x) @ parts)
    factor, fraction, floor = np.sqrt(weight @ np.minimum(pull, 3) ** 2) * np.exp(fit.x)
    return round(float(factor), 3), round(float(fraction), 4), round(float(floor), 3)


def _reliability(
    found: _Found, snr: NDArray[np.float64], *, allowed: int, raised: bool, penalty: float = 0.02
) -> tuple[float, ...]:
    """Logistic regression of real on the logarithms of S/N, significance and area, its constant lowered until
    no more than `allowed` regions of the empty fields pass `CUT`, and this share of all that pass is real; or
    raised as far as that allows."""
    logs = np.log(np.maximum([snr, found.peak, found.area], 1e-6))
    # where hardly any was false, nothing tells the sure ones from the others: count the least as false
    doubtful = max(1, logs.shape[1] // 50)
    least = np.repeat(np.quantile(logs, 0.02, axis=1)[:, None], doubtful, axis=1)
    seen, sign = np.c_[logs, least], np.r_[np.where(found.real, 1.0, -1.0), -np.ones(doubtful)]

    def loss(p: NDArray[np.float64]) -> float:
        return float(np.logaddexp(0, -sign * (p[0] + p[1:] @ seen)).mean() + penalty * (p[1:] ** 2).mean())

    # a region that stands out more, or is larger, is never the less likely real
    fit = minimize(loss, np.array([-3.0, 1.0, 1.0, 0.0]), bounds=[(None, None), *[(0, None)] * 3])
    weights = fit.x
    logit = weights[0] + weights[1:] @ logs
    order = np.argsort(-logit, kind="stable")
    right = np.cumsum(found.real[order]) / np.arange(1, len(order) + 1) >= CUT
    passing = np.flatnonzero(right & (np.cumsum(found.empty[order]) <= allowed))
    least = float(logit[order[passing[-1]]]) if len(passing) else float(logit.max()) + 1
    shift = float(np.log(CUT / (1 - CUT)) - least + 1e-4)
    weights[0] += shift if raised else min(shift, 0.0)
    return tuple(round(float(w), 4) for w in np.r_[weights[0] - 5e-5, weights[1:]])

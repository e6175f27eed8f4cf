"""Fit of a denoising model's settings on simulated fields: calibration, thresholds, errors, reliability."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from scipy.optimize import minimize
from scipy.stats import norm

from faintsky.denoising import RegionSettings, error_kernel, estimate, measure, segment, smoothed
from faintsky.image import RadioImage
from faintsky.preparing import prepare_image

if TYPE_CHECKING:
    from torch import nn

Array32 = NDArray[np.float32]
LEVELS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 64.0)
"""Mean over rms at which the calibration's factors hold."""
SPREADS = (0.03, 0.06, 0.12, 0.25, 0.5, 1.0, 2.0)
"""The network's standard deviation over rms at which they do."""
HUBER, ENOUGH = 3.0, 1000
"""Errors count with their squares up to this many sigma; least number of pixels for a factor."""
_HUBER_SQUARE = 2 * float(norm.expect(lambda z: min(z, HUBER) ** 2, lb=0))
"""What a Gaussian's squares are in the mean then."""
SEEDS, GROWN = (1.75, 2.5, 3.5, 5.0), (0.5, 1.0, 1.2, 1.4, 1.7, 2.2)
"""Thresholds of mean over sigma that are tried."""
SMOOTHS, CAPS = (1.1, 1.4, 1.8), (0.3, 0.45, 0.6)
"""Smoothing lengths, over the root of a region's least area, and caps that are tried."""
SEED_OVER_GROWN = 1.6
"""Of the thresholds on the smoothed image."""
GAIN = 0.02
"""Share of the faint emission that smoothing has to add."""
LENGTHS = (0.7, 1.0, 1.4, 2.0, 2.8, 4.0)
"""Lengths of the errors' correlation that are tried, over the default."""
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
    """

    mean: Array32
    sigma: Array32
    truth: Array32
    beam: tuple[float, float, float] | None
    beam_area: float

    @property
    def empty(self) -> bool:
        """Whether there is nothing but noise."""
        return not self.truth.any()


def make_sample(image: RadioImage, truth: Array32, network: nn.Module, device: str = "cpu") -> Sample:
    """Prepare and denoise a simulated image whose true sky, at its resolution and in its unit, is known."""
    p, mean, sigma = estimate(network, prepare_image(image), device=device)
    return Sample(mean, sigma, (truth / p.rms).astype(np.float32), p.beam, p.beam_area)


def fit_settings(
    samples: Sequence[Sample], start: RegionSettings, *, rate: float
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

    Returns
    -------
    settings : RegionSettings
    scores : dict
        What they reach on the same fields.
    """
    factors = tuple(tuple(round(float(f), 3) for f in row) for row in _calibration(samples))
    fitted = changed(start, sigma_at=LEVELS, sigma_raw=SPREADS, sigma_factor=factors)
    best: tuple[float, RegionSettings, dict[str, Any]] | None = None
    for seed, grow in product(SEEDS, GROWN):
        if seed <= grow:
            continue
        trial = changed(fitted, seed=(seed, start.seed[1]), grow=(grow, start.grow[1]))
        made, scores = _fit_regions(samples, trial, rate)
        if best is None or scores["dice"] > best[0]:
            best = scores["dice"], made, scores
    assert best is not None
    _, made, scores = best
    root = float(np.sqrt(start.least_area))
    for smooth, cap in product(SMOOTHS, CAPS):
        trial = changed(made, error_length=start.error_length, smooth=round(smooth * root, 2), cap=cap)
        tried = _fit_regions(samples, _with_faint(samples, trial), rate)
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


def _calibration(samples: Sequence[Sample]) -> NDArray[np.float64]:
    """Factors on sigma, ``[LEVELS, SPREADS]``, that make the scatter of the errors one sigma.

    The scatter is that of Huber's Proposal 2 (1964, Ann. Math. Stat. 35, 73): squares count up to `HUBER`
    sigma, or a few lone noise peaks would rule the errors of all smooth emission beside them. Where a pair
    of level and spread is hardly ever met, the nearest one's factor holds.
    """
    levels = [LEVELS[1] / 2, *(np.sqrt(a * b) for a, b in pairwise(LEVELS[1:]))]
    spreads = [np.sqrt(a * b) for a, b in pairwise(SPREADS)]
    shape = len(LEVELS), len(SPREADS)
    pulls, cells = [], []
    for s in samples:
        pulls.append(np.abs((s.mean - s.truth) / s.sigma).ravel())
        at = np.digitize(np.abs(s.mean), levels), np.digitize(s.sigma, spreads)
        cells.append(np.ravel_multi_index(at, shape).ravel())
    pull, cell = np.concatenate(pulls).astype(np.float64), np.concatenate(cells)
    count = np.bincount(cell, minlength=shape[0] * shape[1])
    factor = np.ones(count.size)
    for _ in range(30):
        square = np.bincount(cell, np.minimum(pull / factor[cell], HUBER) ** 2, count.size)
        factor *= np.sqrt(np.maximum(square / np.maximum(count, 1) / _HUBER_SQUARE, 1e-3))
    known = (count > ENOUGH).reshape(shape)
    if not known.any():
        raise ValueError("too few pixels to fit on: simulate more fields")
    nearest = distance_transform_edt(~known, sampling=(1, 2), return_distances=False, return_indices=True)
    return np.asarray(factor.reshape(shape)[tuple(nearest)])


@dataclass(frozen=True)
class _Found:
    """Regions of all samples: fluxes, true fluxes, significances, areas [beam], errors by length, and the
    areas of their beams [pixel]."""

    flux: NDArray[np.float64]
    truth: NDArray[np.float64]
    peak: NDArray[np.float64]
    area: NDArray[np.float64]
    errors: NDArray[np.float64]
    empty: NDArray[np.bool_]
    sample: NDArray[np.int64]
    beam: NDArray[np.float64]

    @property
    def real(self) -> NDArray[np.bool_]:
        """Whether at least half of the flux is there."""
        return self.truth > 0.5 * self.flux


def _fit_regions(
    samples: Sequence[Sample], settings: RegionSettings, rate: float
) -> tuple[RegionSettings, dict[str, Any]]:
    """Flux errors and reliability for given thresholds, and what comes of them."""
    labels = [
        segment(s.mean, settings.calibrated(s.mean, s.sigma), np.isfinite(s.mean), settings, s.beam_area)
        for s in samples
    ]
    lengths = [settings.error_length * k for k in LENGTHS]
    found = _measured(samples, labels, settings, lengths)
    if found.real.sum() < 20:
        raise ValueError(f"only {found.real.sum()} real regions to fit on: simulate more fields")
    which, factor, fraction, floor = _flux_errors(found)
    fitted = changed(
        settings, error_length=lengths[which], error_factor=factor, error_fraction=fraction, error_floor=floor
    )
    snr = found.flux / fitted.flux_error(found.flux, found.errors[which], found.beam)
    blank = sum(s.mean.size / s.beam_area for s in samples if s.empty)
    weights = _reliability(found, snr, allowed=int(rate * blank))
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
    samples: Sequence[Sample],
    labels: Sequence[NDArray[np.int32]],
    settings: RegionSettings,
    lengths: Sequence[float],
) -> _Found:
    rows, errors = [], []
    for i, (s, own) in enumerate(zip(samples, labels)):
        sigma = settings.calibrated(s.mean, s.sigma)
        by_length = [
            measure(s.mean, sigma, own, error_kernel(s.beam, length), shapes=False) for length in lengths
        ]
        true = np.bincount(own.ravel(), weights=s.truth.ravel())
        for r in by_length[0]:
            rows.append(
                (r.flux, true[r.number], r.significance, r.area / s.beam_area, s.empty, i, s.beam_area)
            )
        errors.append(np.array([[r.flux_err for r in regions] for regions in by_length]))
    table = np.array(rows, dtype=float).reshape(-1, 7).T
    flux, truth, peak, area = table[:4]
    every = np.concatenate(errors, axis=1)
    return _Found(flux, truth, peak, area, every, table[4].astype(bool), table[5].astype(np.int64), table[6])


def _flux_errors(found: _Found) -> tuple[int, float, float, float]:
    """Which length, and the factor, fraction and floor of flux errors, that make true fluxes most likely."""
    use = found.real & ~found.empty
    miss, flux, beam = (found.flux - found.truth)[use], found.flux[use], found.beam[use]
    # there are many more small regions than large ones, which should count for something, too
    octave = np.round(np.log2(np.maximum(found.area[use], 1))).astype(int)
    weight = 1 / np.sqrt(np.bincount(octave)[octave])
    weight /= weight.sum()
    best = (np.inf, 0, 1.0, 0.0, 0.0)
    for k, raw in enumerate(found.errors[:, use]):

        def loss(p: NDArray[np.float64], raw: NDArray[np.float64] = raw) -> float:
            spread = np.sqrt(np.exp(2 * p) @ np.array([raw, flux, beam]) ** 2)
            # beyond two sigma linear: a few odd regions must not widen all errors
            z = np.abs(miss) / spread
            return float(weight @ (np.where(z < 2, z * z / 2, 2 * z - 2) + np.log(spread)))

        fit = minimize(loss, np.log([1.0, 0.05, 0.5]), method="Nelder-Mead")
        if fit.fun < best[0]:
            # the linear part leaves the errors of the many too large
            pull = np.abs(miss) / np.sqrt(np.exp(2 * fit.x) @ np.array([raw, flux, beam]) ** 2)
            scale = np.sqrt(weight @ np.minimum(pull, 3) ** 2)
            best = fit.fun, k, *(float(v) for v in scale * np.exp(fit.x))
    return best[1], round(best[2], 3), round(best[3], 4), round(best[4], 3)


def _reliability(
    found: _Found, snr: NDArray[np.float64], *, allowed: int, penalty: float = 0.02
) -> tuple[float, ...]:
    """Logistic regression of real on the logarithms of S/N, significance and area, its constant lowered
    until no more than `allowed` regions of the empty fields pass `CUT`."""
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
    logit = np.sort((weights[0] + weights[1:] @ logs)[found.empty])[::-1]
    if logit.size > allowed:
        excess = float(logit[allowed]) - np.log(CUT / (1 - CUT))
        weights[0] -= max(excess, 0) + 1e-6
    return tuple(round(float(w), 4) for w in np.r_[weights[0] - 5e-5, weights[1:]])

"""The measures of Gheller & Vazza (2021) of how well a brightness [Jy/arcsec2] is recovered.

Each takes one field and gives what can be added up or joined over fields; the functions named ``*_statistic``
make the numbers of them, for `faintsky.evaluation.image_metrics.over_fields`. `PaperImages` scores with them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faintsky.evaluation import PIXEL_EDGES, Answer, ImageScorer, Method, Scores
from faintsky.evaluation.image_metrics import binned_sums
from faintsky.evaluation.images import SECTIONS, Quantity, RowWriter, Sample, bins_of
from faintsky.matching import Estimate
from faintsky.published.dda import EDGES, LEAST_MRE, LogScale

Float = NDArray[np.float64]
Image = NDArray[np.floating]

RADII = np.concatenate([[0.0], np.geomspace(1.0, 1600.0, 41)])
"""Edges of the bins of separation in C(r) [arcsec]; the first holds a separation of nothing alone."""
FALLEN = 0.01
"""Correlations have fallen where they are below this."""
BRIGHTEST = 0.01
"""Share of the pixels whose dimming is looked at."""
_SCALE = LogScale(floor=float(EDGES[0]), ceiling=float(EDGES[-1]))


def brightness_sums(estimate: Image, truth: Image, snr: Image) -> Float:
    """Sums over the pixels of each bin of true S/N, ``[bin, 4]``.

    Number of pixels, squared error of their places on the logarithmic scale (the paper's code units; eq. 3),
    number of pixels above `LEAST_MRE`, and sum of these pixels' relative errors (eq. 7).

    Parameters
    ----------
    estimate, truth : array
        ``[y, x]`` [Jy/arcsec2]; pixels where either is NaN are left out.
    snr : array
        True S/N, ``[y, x]``.
    """
    use = np.isfinite(estimate) & np.isfinite(truth) & (snr >= 0)
    e, t = (np.where(use, v, 0).astype(np.float64) for v in (estimate, truth))
    limits = _SCALE.limits(t[use])
    square = (_SCALE.encode(e, limits) - _SCALE.encode(t, limits)).astype(np.float64) ** 2
    counted = t > LEAST_MRE
    return binned_sums(snr, use, square, counted, np.abs(e - t) / np.where(counted, t, np.inf))


def brightness_statistic(sums: NDArray) -> Float:
    """Mean squared error and mean relative error of all pixels, then both by bin, ``[2 + 2 bin]``."""
    total = sums.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        whole = [total[:, 1].sum() / total[:, 0].sum(), total[:, 3].sum() / total[:, 2].sum()]
        return np.concatenate([whole, total[:, 1] / total[:, 0], total[:, 3] / total[:, 2]])


def mre_of_each(sums: NDArray) -> Float:
    """The mean relative error of each field, ``[field]``; NaN where no pixel is above `LEAST_MRE`."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(sums[..., 3].sum(axis=-1) / sums[..., 2].sum(axis=-1))


def histograms(estimate: Image, truth: Image) -> Float:
    """Pixels of estimate and truth in each of the bins of `EDGES`, ``[2, bin]``.

    What lies below the floor is counted at the floor, as both are in the paper, and what lies above at the
    upper end, so that both sum up to the same.
    """
    use = np.isfinite(estimate) & np.isfinite(truth)
    inside = (np.clip(v[use], EDGES[0] * 1.0001, EDGES[-1] * 0.9999) for v in (estimate, truth))
    return np.stack([np.histogram(v, EDGES)[0] for v in inside]).astype(np.float64)


def discrepancy_statistic(counts: NDArray) -> Float:
    """The discrepancy Delta_c (eq. A1) of histograms ``[field, 2, bin]``, over the number of pixels."""
    estimate, truth = counts.sum(axis=0)
    return np.array([np.abs(estimate - truth).sum() / max(truth.sum(), 1.0)])


class Correlator:
    """Correlation of images with one true sky, as a function of separation: C(r) of eq. 8.

    Lags reach beyond the borders of neither image: both are padded with zeros after their means are taken
    off. Pixels that are blank in the true sky or in an estimate count as its mean.

    Parameters
    ----------
    truth : array
        ``[y, x]``
    cell : float
        [arcsec]
    edges : array, optional
        Bins of separation [arcsec].
    """

    def __init__(self, truth: Image, cell: float, edges: Float = RADII) -> None:
        from scipy.fft import next_fast_len

        self._reach = min(int(edges[-1] / cell) + 1, min(truth.shape) - 1)
        # only lags up to the reach need to be free of what is wrapped round
        self._padded = tuple(next_fast_len(n + self._reach, real=True) for n in truth.shape)
        lag = np.arange(-self._reach, self._reach + 1) * cell
        r = np.hypot(lag[:, None], lag[None, :])
        self._bin = np.where(r < edges[-1], np.digitize(r, edges) - 1, -1).ravel()
        self._bins, self._pixels = len(edges) - 1, truth.size
        self._counts = np.bincount(self._bin[self._bin >= 0], minlength=self._bins)
        self._truth = self._transform(truth)
        self.truth = self._profile(self._truth)

    def __call__(self, estimate: Image) -> Float:
        """C(r) of an estimate, ``[bin]``; NaN throughout where either image is constant."""
        return self._profile(self._transform(estimate))

    def _transform(self, image: Image) -> NDArray[np.complex64] | None:
        from scipy.fft import rfft2

        known = np.isfinite(image)
        mean = float(image[known].mean(dtype=np.float64)) if known.any() else 0.0
        flat = np.where(known, image - mean, 0).astype(np.float64)
        spread = float(flat.std())
        if not spread > 1e-6 * abs(mean):
            return None
        return np.asarray(rfft2((flat / spread).astype(np.float32), s=self._padded))

    def _profile(self, other: NDArray[np.complex64] | None) -> Float:
        from scipy.fft import irfft2

        if other is None or self._truth is None:
            return np.full(self._bins, np.nan)
        plane = irfft2(np.conj(self._truth) * other, s=self._padded)
        rows = np.arange(-self._reach, self._reach + 1)
        near = plane[np.ix_(rows, rows)].ravel()
        inside = self._bin >= 0
        total = np.bincount(self._bin[inside], near[inside], self._bins)
        with np.errstate(invalid="ignore"):
            return np.asarray(total / self._counts / self._pixels)


def correlation_statistic(profiles: NDArray) -> Float:
    """Of curves ``[field, 2, bin]`` (estimate, true sky), of which the means over fields are taken.

    ``1 - C(0)``; the separation at which the estimate's, and the true sky's, have fallen [arcsec]; and the
    root mean square difference of the two over the bins up to there.
    """
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # bins without any lag are NaN in all fields
        estimate, truth = np.nanmean(profiles, axis=0)
    reach = fallen(truth)
    seen = np.isfinite(estimate) & np.isfinite(truth) & (RADII[:-1] <= (reach if reach > 0 else 0.0))
    apart = float(np.sqrt(np.mean((estimate - truth)[seen] ** 2))) if seen.any() else np.nan
    return np.array([1 - estimate[0], fallen(estimate), reach, apart])


def fallen(profile: Float, level: float = FALLEN) -> float:
    """Separation at which a curve in the bins of `RADII` first falls below a level [arcsec].

    NaN where it never does or there is none.
    """
    known = np.isfinite(profile)
    below = np.flatnonzero(known & (profile < level))
    return float(radii()[below[0]]) if len(below) else float("nan")


def radii() -> Float:
    """Middles of the bins of `RADII` [arcsec]."""
    middle = np.sqrt(RADII[1:] * RADII[:-1])
    middle[0] = 0.0
    return middle


def dimming_sums(estimate: Image, truth: Image) -> Float:
    """Of the brightest pixels of the true sky ``[4]``: number, sums of estimate over truth, of both."""
    use = np.isfinite(estimate) & np.isfinite(truth)
    e, t = (v[use].astype(np.float64) for v in (estimate, truth))
    if not t.size or not t.max() > 0:
        return np.zeros(4)
    top = (t >= np.quantile(t, 1 - BRIGHTEST)) & (t > 0)
    return np.array([top.sum(), (e[top] / t[top]).sum(), e[top].sum(), t[top].sum()])


def dimming_statistic(sums: NDArray) -> Float:
    """By how much the brightest pixels are too faint: the mean over pixels, and that of their sum."""
    n, ratio, estimate, truth = sums.sum(axis=0)
    return np.array([1 - ratio / n, 1 - estimate / truth]) if n else np.full(2, np.nan)


def brightness_parts(
    estimate: Image, truth: Image, snr: Image, correlator: Correlator
) -> dict[str, NDArray[Any]]:
    """Everything of one field, by name, with a first axis of 1."""
    profile = np.stack([correlator(estimate), correlator.truth])
    made = {
        "brightness": brightness_sums(estimate, truth, snr),
        "histogram": histograms(estimate, truth),
        "profile": profile,
        "dimming": dimming_sums(estimate, truth),
    }
    return {name: value[None] for name, value in made.items()}


SHARP = "sharp "
"""Begins the names of what an answer without the image's beam is measured by, beside the sky without it."""
PAPER: list[Quantity] = [
    ("sigma_MRE", None, "σ_MRE"), ("sigma_MRE, scatter of fields", None, "scatter of fields"),
    ("MSE", None, "MSE"), ("Delta_c", None, "Δc"), ("1 - C(0)", None, "1 − C(0)"),
    ("C difference", None, "C(r) off by"), ("C falls [arcsec]", None, "C(r) falls at [″]"),
    ("C of the true sky falls [arcsec]", None, "the sky's"),
    ("dimming of their sum", None, "brightest 1 %: dimmer by"),
]  # fmt: skip
MEASURES = (
    ("Measures of Gheller & Vazza (2021)", PAPER),
    ("The same, of answers without the image's beam, beside the sky without it",
     [(f"{q}, beam taken out", low, heading) for q, low, heading in PAPER if "falls" not in q]),
    ("σ_MRE by the true S/N of the pixel", bins_of("sigma_MRE")),
    ("MSE by the true S/N of the pixel", bins_of("MSE")),
)  # fmt: skip


class PaperImages(ImageScorer):
    """The usual scores of denoised images, and the paper's measures and figures."""

    sections = (SECTIONS[0], *MEASURES, *SECTIONS[1:])
    plots = (
        *ImageScorer.plots,
        ("sigma_MRE", "true S/N of the pixel", "mean relative error", (0.02, 50)),
    )  # fmt: skip

    def measure(self, sample: Sample, answer: Answer, false: Answer | None) -> dict[str, NDArray[Any]]:
        """The usual parts, and those of `brightness_parts`; their names begin with `SHARP` without a beam."""
        one, unit = sample.field, np.float32(sample.field.brightness)
        snr, cell = one.truth / one.rms, one.image.grid.cell
        parts = super().measure(sample, answer, false)
        parts |= brightness_parts(answer.image * unit, one.truth * unit, snr, Correlator(one.truth, cell))
        if answer.sharp is not None and one.sharp is not None:
            sharp = brightness_parts(answer.sharp, one.sharp, snr, Correlator(one.sharp, cell))
            parts |= {SHARP + name: value for name, value in sharp.items()}
        return parts

    def write_rows(self, w: RowWriter) -> None:
        """The usual rows, and the paper's."""
        super().write_rows(w)
        for prefix in ("", SHARP):
            if prefix + "brightness" in w.parts:
                _brightness_rows(w, prefix)

    def score(self, out: Path, sets: Sequence[Any], methods: Sequence[Method], seed: int) -> Scores:
        """The usual, and mean C(r) and histograms for the figures."""
        scores = super().score(out, sets, methods, seed)
        curves: dict[str, dict[str, Any]] = {}
        for cases in sets:
            parts = {m.name: self.parts_of(out, cases, m) for m in methods}
            curves[cases.name] = {m: _curves(p) for m, p in parts.items() if "profile" in p}
        axes = {"separation_arcsec": radii(), "brightness_edges": EDGES}
        scores.results["curves"] = {**axes, "sets": curves}
        return scores

    def figures(
        self, out: Path, sets: Sequence[Any], methods: Sequence[Method], scores: Scores
    ) -> Iterator[tuple[str, Any]]:
        """The usual, and maps, zooms, cuts, histograms, C(r) and discrepancies."""
        from reproduction import dda_figures

        yield from super().figures(out, sets, methods, scores)
        for cases in sets:
            field = cases.load(cases.indices[0])
            images, name = self.images_of(out, cases, methods), cases.name.replace(" ", "_")
            for kind, figure in dda_figures.of_field(field, images).items():
                yield f"{kind}_{name}", figure
        yield from dda_figures.of_curves(scores.results["curves"]["sets"]).items()


def _brightness_rows(w: RowWriter, prefix: str) -> None:
    """The paper's measures; those beside the sky without the image's beam have names that say so."""
    words = ", beam taken out" if prefix else ""
    sums = w.parts[prefix + "brightness"]
    number_of = np.sum(sums, axis=(0, 1))
    square, relative, *binned = w.over(brightness_statistic, prefix + "brightness")
    w.add("MSE" + words, square, number_of[:, 0].sum())
    w.add("sigma_MRE" + words, relative, number_of[:, 2].sum())
    each = mre_of_each(np.concatenate(sums))
    if np.isfinite(each).sum() > 1:
        spread = Estimate(float(np.nanstd(each)), float("nan"))
        w.add("sigma_MRE, scatter of fields" + words, spread, int(np.isfinite(each).sum()))
    if not prefix:
        per = len(PIXEL_EDGES) - 1
        w.bins(binned[:per], ("MSE",), PIXEL_EDGES, number_of[:, 0])
        w.bins(binned[per:], ("sigma_MRE",), PIXEL_EDGES, number_of[:, 2])
    (apart,) = w.over(discrepancy_statistic, prefix + "histogram")
    w.add("Delta_c" + words, apart, np.sum(w.parts[prefix + "histogram"]) / 2)
    fields = len(w.parts[prefix + "profile"])
    names = ("1 - C(0)", "C falls [arcsec]", "C of the true sky falls [arcsec]", "C difference")
    for name, value in zip(names, w.over(correlation_statistic, prefix + "profile"), strict=True):
        w.add(name + words, value, fields)
    dim = ("dimming of the brightest 1 %", "dimming of their sum")
    bright = np.sum(w.parts[prefix + "dimming"], axis=(0, 1))[0]
    for name, value in zip(dim, w.over(dimming_statistic, prefix + "dimming"), strict=True):
        w.add(name + words, value, bright)


def _curves(parts: dict[str, list[NDArray[Any]]]) -> dict[str, list[float]]:
    """Mean C(r) of the estimate and of the true sky, and both histograms (pixels)."""
    profile = np.concatenate(parts["profile"])
    known = np.isfinite(profile)
    total = np.where(known, profile, 0).sum(axis=0)
    mean = np.where(known.any(axis=0), total / np.maximum(known.sum(axis=0), 1), np.nan)
    counts = np.sum(parts["histogram"], axis=(0, 1))
    names = ("C", "C true", "histogram", "histogram true")
    return dict(zip(names, [*mean.tolist(), *counts.tolist()], strict=True))

"""Scores of denoised images against the true sky: pixels, fluxes, peaks, pulls, regions.

All values are in units of the image's rms. For each answer small arrays are kept, the *parts*, which are
joined for several fields along their first axis.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum

from faintsky.arrays import Float
from faintsky.denoising import RegionSettings, segment
from faintsky.evaluation import figures
from faintsky.evaluation.image_metrics import (
    INSIDE,
    PIXEL_EDGES,
    RELIABLE,
    SEGMENT_EDGES,
    SEGMENT_QUANTITIES,
    SNR_CUTS,
    SOURCE_EDGES,
    Apertures,
    Segments,
    draw_apertures,
    mean_ratio,
    over_fields,
    pixel_sums,
    pull_sums,
    ratio_statistic,
    region_fluxes,
    segment_statistic,
    segment_sums,
)
from faintsky.evaluation.methods import Answer
from faintsky.evaluation.running import (
    TRUTH,
    Method,
    Rows,
    Scores,
    file_name,
    markdown,
    measured_cost,
    with_error,
)
from faintsky.evaluation.sets import Field
from faintsky.matching import Estimate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Parts = dict[str, NDArray]
Quantity = tuple[str, float | None, str]
"""Column of a table: quantity, lower end of its S/N, heading."""

BEAM = np.pi / (4 * np.log(2))
"""Area of a beam over its FWHM squared."""
ISLAND = 3.0
"""S/N at the outline of an island in a filtered image."""
ISLAND_PEAK = 5.0
"""Least S/N of the peak of an island that counts."""
BRIGHT = 5.0
"""S/N above which fluxes should be unbiased."""
FAINT = 10.0
"""S/N below which pixels inside sources have a separate row, as denoising is for these."""
SEEN = ("seen", "truth", "input")
"""Parts with images of a set's first field over the rms, for the picture, float16 ``[y, x]``."""
COSTS = ("seconds a field", "CPU seconds a field", "peak memory [MB]")
CLASSICAL = ("starlet", "gaussian", "fft", "threshold", "gaussian_paper", "clean")
OTHERS = (*CLASSICAL, "pybdsf", "aegean", "input", "constant")
"""Classical methods; models are compared with the best of them."""


@dataclass(frozen=True)
class Sample:
    """A field with what all methods share: an empty field, or None, and the apertures."""

    field: Field
    empty: Field | None
    first: bool

    @cached_property
    def apertures(self) -> Apertures:
        """Apertures around the sources of the true sky."""
        return draw_apertures(self.field.truth / self.field.rms, self.field.width, self.field.correlation)


def islands(image: NDArray, spread: float, field: Field) -> Segments:
    """Regions of a filtered image above 3 times its noise; those that reach 5 count.

    Parameters
    ----------
    image : array
        The filtered image, ``[y, x]``.
    spread : float
        Standard deviation of the filtered noise, in the same unit.
    field : Field
        The field.

    Returns
    -------
    Segments
    """
    image = image - np.median(image)
    rule = RegionSettings(seed=(ISLAND, 0.0), grow=(ISLAND, 0.0), least_area=1.0)
    area = 1.0 if field.correlation is None else BEAM * field.width**2
    labels = segment(image, np.full_like(image, spread), np.isfinite(image), rule, area)
    numbers = np.arange(1, labels.max() + 1)
    peaks = maximum(image, labels, numbers) / spread if len(numbers) else np.zeros(0)
    return Segments(labels, np.asarray(peaks), ISLAND_PEAK, SNR_CUTS)


def _pixel_statistic(sums: NDArray) -> Float:
    """Rms error inside sources, the same below `FAINT`, and rms error, bias and relative error by bin."""
    total = sums.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        errors = [np.sqrt(total[g, 2].sum() / total[g, 0].sum()) for g in (_INSIDE, _FAINT)]
        n, bias, square, relative = total.T
        relative = np.where(PIXEL_EDGES[:-1] > 0, np.sqrt(relative / n), np.nan)
        return np.concatenate([errors, np.sqrt(square / n), bias / n, relative])


_INSIDE = PIXEL_EDGES[:-1] >= INSIDE
_FAINT = _INSIDE & (PIXEL_EDGES[1:] <= FAINT)


def _pull_statistic(sums: NDArray) -> Float:
    """Mean, standard deviation and fraction within one sigma of the pulls in each bin."""
    with np.errstate(invalid="ignore", divide="ignore"):
        n, pull, square, within = sums.sum(axis=0).T
        return np.concatenate([pull / n, np.sqrt(square / n - (pull / n) ** 2), within / n])


class RowWriter:
    """The rows of one method and set, from the parts of all fields.

    Parameters
    ----------
    method, cases : str
        Names of the method and the set.
    parts : mapping of str to list of array
        Parts of each field by name.
    seed : int
        Seed of the bootstraps.
    """

    def __init__(self, method: str, cases: str, parts: Mapping[str, list[NDArray]], seed: int) -> None:
        self.head, self.parts, self.seed = {"method": method, "set": cases}, parts, seed
        self.rows: Rows = []

    def add(
        self,
        quantity: str,
        value: Estimate,
        count: float,
        low: float | None = None,
        high: float | None = None,
    ) -> None:
        """Add one row, unless its value is NaN.

        Parameters
        ----------
        quantity : str
            Name of the quantity.
        value : Estimate
            Value and error.
        count : float
            Number of pixels, sources or regions.
        low, high : float, optional
            Range of S/N.
        """
        if np.isfinite(value.value):
            place = {"snr_low": low, "snr_high": None if high is None or np.isinf(high) else high}
            number = {"value": value.value, "error": value.error, "n": int(count)}
            self.rows.append({**self.head, "quantity": quantity, **place, **number})

    def bins(self, values: Sequence[Estimate], names: Sequence[str], edges: Float, counts: Float) -> None:
        """Add rows of several quantities in the same bins.

        Parameters
        ----------
        values : sequence of Estimate
            Values in all bins of the first quantity, then of the second, …
        names : sequence of str
            Names of the quantities.
        edges : array
            Edges of the bins, ``[bin + 1]``.
        counts : array
            Number of pixels or sources in each bin, ``[bin]``.
        """
        per = len(edges) - 1
        for k, value in enumerate(values):
            b = k % per
            self.add(names[k // per], value, counts[b], float(edges[b]), float(edges[b + 1]))

    def over(self, statistic: Callable[[NDArray], Float], part: str) -> list[Estimate]:
        """A statistic over the fields; see `over_fields`."""
        return over_fields(statistic, self.parts[part], seed=self.seed)

    def counts(self, part: str) -> Float:
        """Number of pixels in every bin, the first column of a part."""
        return np.asarray(np.sum(self.parts[part], axis=(0, 1))[:, 0])


def bins_of(quantity: str, edges: Float = PIXEL_EDGES, words: str = "") -> list[Quantity]:
    """Columns of a table for a quantity in bins of S/N.

    Parameters
    ----------
    quantity : str
        Name of the quantity.
    edges : array, optional
        Edges of the bins; by default those of pixels.
    words : str, optional
        Text before the bins in headings.

    Returns
    -------
    list of tuple
        Quantity, lower end of the S/N, heading.
    """
    return [
        (quantity, float(a), words + (f"{a:g}–{b:g}" if np.isfinite(b) else f"> {a:g}"))
        for a, b in pairwise(edges)
    ]


SECTIONS: tuple[tuple[str, list[Quantity]], ...] = (
    ("Rms error of the pixels, by their true S/N",
     [("error inside", INSIDE, f"inside (> {INSIDE:g})"),
      ("error inside, faint", INSIDE, f"inside, < {FAINT:g}"), *bins_of("error")]),
    ("Flux in apertures: median of recovered over true, by the S/N of the aperture; and the mean",
     [("flux ratio, all", BRIGHT, "> 5"), ("flux ratio, mean", BRIGHT, "> 5, mean"),
      *bins_of("flux ratio", SOURCE_EDGES)]),
    ("Peaks: median of recovered over true, by their true S/N",
     [("peak ratio, all", 10.0, "> 10"), *bins_of("peak ratio", SOURCE_EDGES)]),
    (f"Segmentation at reliabilities of {RELIABLE:g}: fraction of the pixels of large true regions that are"
     " outlined, and of the regions that are detected, by true S/N per pixel",
     [*bins_of("completeness at reliability", SEGMENT_EDGES),
      *bins_of("regions detected at reliability", SEGMENT_EDGES, "regions, ")]),
    ("Segmentation at the method's own threshold: completeness of pixels; reliabilities; found over true flux"
     " of regions above S/N 5",
     [*bins_of("completeness", SEGMENT_EDGES), ("pixel reliability", None, "pixels are true"),
      ("region reliability", None, "regions are true"), ("region flux ratio, all", BRIGHT, "flux, median"),
      ("region flux ratio, mean", BRIGHT, "flux, mean")]),
    ("Scatter of the flux ratio; false regions per square degree of empty fields; time and memory",
     [*bins_of("flux scatter", SOURCE_EDGES), ("false regions per deg2", None, "false regions"),
      *((cost, None, words) for cost, words in zip(COSTS, ("s per field", "CPU s", "MB")))]),
    ("Standard deviation of the pulls, by the denoised S/N", bins_of("pull std")),
)  # fmt: skip
"""Titles and columns of the tables; empty tables and rows are left out."""
PLOTS = (
    ("error", "true S/N of the pixel", "rms error / noise", (0.02, 50)),
    ("flux ratio", "S/N of the aperture", "flux, recovered / true (median)", (-0.1, 1.6)),
    ("peak ratio", "true S/N of the peak", "peak, recovered / true (median)", (-0.1, 1.6)),
    ("completeness at reliability", "true S/N of the pixel", "completeness at reliability 0.9",
     (-0.03, 1.05)),
    ("pull std", "denoised S/N of the pixel", "standard deviation of the pulls", (0, 3)),
)  # fmt: skip


def quantity_table(rows: Rows, cases: str, quantities: Sequence[Quantity]) -> str:
    """Markdown table of methods against quantities on one set.

    Parameters
    ----------
    rows : list of dict
        Rows of the scores.
    cases : str
        Name of the set.
    quantities : sequence of tuple
        Columns, see `bins_of`.

    Returns
    -------
    str
        Without methods that have no value; empty if there are none.
    """
    known = {(r["method"], r["quantity"], r["snr_low"]): r for r in rows if r["set"] == cases}
    wanted = {(q, low) for q, low, _ in quantities}
    lines = []
    for method in dict.fromkeys(m for m, q, low in known if (q, low) in wanted):
        found = (known.get((method, q, low)) for q, low, _ in quantities)
        lines.append([method, *(shown(r) for r in found)])
    return markdown(["method", *(heading for _, _, heading in quantities)], lines) if lines else ""


def shown(row: Mapping[str, Any] | None) -> str:
    """Text of a number with its error, or a dash."""
    if row is None:
        return "–"
    value, error = row["value"], row["error"]
    # fields with equal values have an error by rounding only
    return with_error(value, None if 0 < error < 1e-9 * abs(value) else error, ".3g", ".1g")


def gain(rows: Rows, cases: str, method: str, quantity: str) -> tuple[float, str]:
    """Error of a method over that of the best classical filter.

    Parameters
    ----------
    rows : list of dict
        Rows of the scores.
    cases, method, quantity : str
        Names of the set, the method and the error.

    Returns
    -------
    ratio : float
        NaN if one of them is missing.
    best : str
        Name of the filter.
    """
    values = {r["method"]: r["value"] for r in rows if r["set"] == cases and r["quantity"] == quantity}
    classical = [m for m in CLASSICAL if m in values]
    if not classical or method not in values:
        return float("nan"), ""
    best = min(classical, key=values.__getitem__)
    return values[method] / values[best], best


class ImageScorer:
    """Scorer of denoisers of fields.

    A method is a function of a `Field` that returns an `Answer`, or None if it is not for such images. Rows
    have ``method``, ``set``, ``quantity``, ``snr_low``, ``snr_high``, ``value``, ``error`` and ``n``.
    """

    sections: ClassVar[tuple[tuple[str, list[Quantity]], ...]] = SECTIONS
    plots: ClassVar[tuple[Any, ...]] = PLOTS

    def path(self, out: Path, method: str, cases: str, index: int) -> Path:
        """See `Scorer.path`; here it holds the parts of one field."""
        return out / "fields" / file_name(cases) / file_name(method) / f"{index:04d}.npz"

    def load(self, out: Path, cases: Any, index: int) -> Sample:
        """See `Scorer.load`; a sample also has a field without emission, if there is one."""
        return Sample(cases.load(index), cases.load(index, empty=True), index == cases.indices[0])

    def keep(self, sample: Sample, method: Method, file: Path) -> None:
        """See `Scorer.keep`; nothing is kept if the method is not for such images."""
        with measured_cost() as cost:
            answer = method.run(sample.field)
        parts: Parts = {}
        if answer is not None:
            false = None if sample.empty is None else method.run(sample.empty)
            parts = {"cost": np.array([cost]), **self.measure(sample, answer, false)}
            if sample.first:
                parts["seen"] = _small(answer.image / sample.field.rms)
        _write(file, parts)

    def finish(self, out: Path, sample: Sample, cases: Any, index: int) -> None:
        """See `Scorer.finish`; of the first field, true sky and input are kept for the picture."""
        field, path = sample.field, self.path(out, TRUTH, cases.name, index)
        images = {"truth": field.truth, "input": field.image.data} if sample.first else {}
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, {name: _small(image / field.rms) for name, image in images.items()})

    def measure(self, sample: Sample, answer: Answer, false: Answer | None) -> Parts:
        """Measure a method's answers.

        Parameters
        ----------
        sample : Sample
            The field.
        answer : Answer
            The answer to the field.
        false : Answer or None
            The answer to the field without emission.

        Returns
        -------
        dict
            ``pixels`` (`pixel_sums`), ``flux`` and ``peak`` (S/N and recovered over true value of each
            aperture and peak), ``pull`` and ``pull by truth`` (`pull_sums`), ``false`` (number of regions,
            and area [deg2], of the field without emission), ``segments`` (`segment_sums`) and ``regions``
            (`region_fluxes`).
        """
        one, apertures = sample.field, sample.apertures
        estimate, truth = answer.image / one.rms, one.truth / one.rms
        heights = truth[tuple(apertures.peaks.T)]
        parts: Parts = {
            "pixels": pixel_sums(estimate, truth)[None],
            "flux": np.stack([apertures.snr, apertures.flux_ratios(estimate)], axis=1),
            "peak": np.stack([heights, apertures.peak_ratios(estimate, truth)], axis=1),
        }
        if answer.sigma is not None:
            sigma = answer.sigma / one.rms
            parts["pull"] = pull_sums(estimate, sigma, truth, np.abs(estimate))[None]
            parts["pull by truth"] = pull_sums(estimate, sigma, truth, truth)[None]
        segments = answer.segments
        if false is not None and sample.empty is not None:
            empty = sample.empty
            spread = max(float(np.std(false.image)), 1e-6 * empty.rms)
            found = islands(false.image, spread, empty) if false.segments is None else false.segments
            parts["false"] = np.array([[found.reported, empty.area]])
            segments = islands(answer.image, spread, one) if segments is None else segments
        if segments is not None:
            parts["segments"] = segment_sums(segments, truth, BEAM * one.width**2)[None]
            parts["regions"] = region_fluxes(segments, truth)
        return parts

    def write_rows(self, w: RowWriter) -> None:
        """Write the rows of a method and set, from its parts."""
        counts = w.counts("pixels")
        inside, faint, *binned = w.over(_pixel_statistic, "pixels")
        w.add("error inside", inside, counts[_INSIDE].sum(), INSIDE)
        w.add("error inside, faint", faint, counts[_FAINT].sum(), INSIDE, FAINT)
        w.bins(binned, ("error", "bias", "relative error"), PIXEL_EDGES, counts)
        for name, least in (("flux", BRIGHT), ("peak", 10.0)):
            snr = np.concatenate(w.parts[name])[:, 0]
            ratios = (f"{name} ratio", f"{name} scatter")
            w.bins(w.over(ratio_statistic(), name), ratios, SOURCE_EDGES, np.histogram(snr, SOURCE_EDGES)[0])
            self._whole(w, name, f"{name} ratio", least, mean=name == "flux")
        for name in ("pull", "pull by truth"):
            if name in w.parts:
                names = (f"{name} mean", f"{name} std", f"{name} within 1 sigma")
                w.bins(w.over(_pull_statistic, name), names, PIXEL_EDGES, w.counts(name))
        if "segments" in w.parts:
            ends, fields = dict(pairwise(SEGMENT_EDGES.tolist())), len(w.parts["segments"])
            for name, value in zip(SEGMENT_QUANTITIES, w.over(segment_statistic, "segments"), strict=True):
                words, _, edge = name.rpartition(" ")
                if edge == "reliability":
                    w.add(name, value, fields)
                else:
                    w.add(words, value, fields, float(edge), ends[float(edge)])
            self._whole(w, "regions", "region flux ratio", BRIGHT, mean=True)
        if "false" in w.parts:
            found, area = np.concatenate(w.parts["false"]).sum(axis=0)
            # if none was found, the error is Poisson's 68 % limit
            error = np.sqrt(found) if found else 1.84
            w.add("false regions per deg2", Estimate(float(found / area), float(error / area)), found)
        for name, values in zip(COSTS, np.concatenate(w.parts["cost"]).T, strict=True):
            w.add(name, Estimate(float(np.mean(values)), float(np.std(values))), len(values))

    @staticmethod
    def _whole(w: RowWriter, part: str, name: str, least: float, mean: bool) -> None:
        """Write median and mean of the ratios above an S/N."""
        count = int(np.sum(np.concatenate(w.parts[part])[:, 0] >= least))
        (median, *_) = w.over(ratio_statistic(np.array([least, np.inf])), part)
        w.add(f"{name}, all", median, count, least)
        if mean:
            w.add(f"{name}, mean", w.over(mean_ratio(least), part)[0], count, least)

    def parts_of(self, out: Path, cases: Any, method: Method) -> dict[str, list[NDArray]]:
        """Parts of a method on a set.

        Parameters
        ----------
        out, cases
            As for `Scorer.load`.
        method : Method
            The method.

        Returns
        -------
        dict
            List of arrays, one for each field, by name.
        """
        parts: dict[str, list[NDArray]] = {}
        for index in method.seen_of(cases):
            for name, value in _read(self.path(out, method.name, cases.name, index)).items():
                if name not in SEEN:
                    parts.setdefault(name, []).append(value)
        return parts

    def score(self, out: Path, sets: Sequence[Any], methods: Sequence[Method], seed: int) -> Scores:
        """See `Scorer.score`: rows of every method and set, and their tables."""
        rows: Rows = []
        for cases in sets:
            for method in methods:
                writer = RowWriter(method.name, cases.name, self.parts_of(out, cases, method), seed)
                if writer.parts:
                    self.write_rows(writer)
                    rows += writer.rows
        summary = {
            f"{r['method']} on {r['set']}: rms error inside sources / noise": r["value"]
            for r in rows
            if r["quantity"] == "error inside"
        }
        return Scores(rows, summary=summary, report=self.report(rows))

    def report(self, rows: Rows) -> list[str]:
        """All tables as Markdown."""
        lines = ["# Evaluation of denoising on images", "",
                 "Errors in units of the noise; ±: bootstrap over fields. Definitions:"
                 " docs/evaluating-images.md.",
                 ""]  # fmt: skip
        for cases in dict.fromkeys(r["set"] for r in rows):
            lines += [f"## {cases}", ""]
            for title, quantities in self.sections:
                if table := quantity_table(rows, cases, quantities):
                    lines += [f"**{title}**", "", table]
            for method in dict.fromkeys(r["method"] for r in rows if r["method"] not in OTHERS):
                for quantity, words in (("error inside", ""), ("error inside, faint", f", S/N < {FAINT:g}")):
                    ratio, best = gain(rows, cases, method, quantity)
                    if np.isfinite(ratio):
                        lines.append(f"Error inside sources{words}: {method} / {best} = {ratio:.2f}.")
            lines.append("")
        return lines

    def figures(
        self, out: Path, sets: Sequence[Any], methods: Sequence[Method], scores: Scores
    ) -> Iterator[tuple[str, Figure]]:
        """See `Scorer.figures`: quantities against S/N, and a picture of each set's first field."""
        for quantity, x, y, limits in self.plots:
            if any(r["quantity"] == quantity and r["snr_low"] is not None for r in scores.rows):
                drawn = figures.against_snr(scores.rows, quantity, x, y, limits)
                yield quantity.replace(" ", "_"), drawn
        for cases in sets:
            images = self.images_of(out, cases, methods)
            truth, data = images.pop("true sky"), images.pop("input image")
            yield f"picture_{cases.name.replace(' ', '_')}", figures.picture(truth, data, images)

    def images_of(self, out: Path, cases: Any, methods: Sequence[Method]) -> dict[str, NDArray]:
        """Images of a set's first field over its rms.

        Parameters
        ----------
        out, cases
            As for `Scorer.load`.
        methods : sequence of Method
            The methods.

        Returns
        -------
        dict
            ``true sky``, ``input image``, and estimates by method, ``[y, x]`` each.
        """
        first = cases.indices[0]
        kept = _read(self.path(out, TRUTH, cases.name, first))
        images = {"true sky": kept["truth"], "input image": kept["input"]}
        for method in methods:
            if first in method.seen_of(cases):
                parts = _read(self.path(out, method.name, cases.name, first))
                images |= {method.name: parts["seen"]} if "seen" in parts else {}
        return {name: image.astype(np.float32) for name, image in images.items()}


def _small(image: NDArray) -> NDArray[np.float16]:
    with np.errstate(over="ignore"):
        return np.asarray(image, dtype=np.float16)


def _write(path: Path, parts: Parts) -> None:
    with open(path, "wb") as file:
        np.savez_compressed(file, **dict[str, Any](parts))


def _read(path: Path) -> Parts:
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}

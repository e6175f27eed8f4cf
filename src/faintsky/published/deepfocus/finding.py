"""Steps i to iii: blobs in the integrated image, lines in their spectra, and focusing on both.

Delli Veneri et al. (2022), Section 4.4, Fig. 14 and eqs. 17 and 18. The fidelity page, B9 and S11, lists
differences from the authors' code."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field
from scipy.ndimage import binary_dilation
from scipy.optimize import least_squares
from scipy.signal import find_peaks, peak_widths
from skimage.measure import label

from faintsky import system
from faintsky.arrays import Array, Array32, Bool, Float
from faintsky.cutouts import SIZE, Box, channel_range
from faintsky.grid import FWHM_PER_SIGMA
from faintsky.preparing import MAD_TO_SIGMA
from faintsky.published.deepfocus.blobs import PAPER_THRESHOLD, Blob, find_blobs, peak_blobs

MOST_PEAKS = 8
"""Most peaks of a spectrum that are used; more come from noise or from an untrained network."""
_LEAST_RING = 8
RULES = (
    "no line in the spectrum",
    "1: faint and no gain by focusing",
    "2: secondary peak of the same source",
    "secondary peak at the same place",
    "line of a neighbour",
    "detected twice",
    "focused S/N too low",
    "reliability too low",
)
"""Rules that remove candidates, in order; the numbers are those of Fig. 14."""
EVENTS = ("blobs", "flagged for deblending", "split off", "peaks joined")
NO_LINE, CONDITION_1, CONDITION_2, SAME_PLACE, NEIGHBOUR, TWICE, FAINT, UNRELIABLE = RULES


class FindingSettings(system.Settings):
    """Thresholds and choices of all steps, in a model's card (Section 4.4).

    The thresholds are fitted on validation cubes when the model is trained.

    Parameters
    ----------
    extract : str
        Method for blobs in Blobs Finder's map: ``label`` is the paper's, `find_blobs`; ``peaks`` is
        `peak_blobs`.
    threshold : float
        With ``label``, value of the map at the edges of blobs and their boxes (paper: 0.15).
    least : float
        Least peak of a blob in the map.
    share, dip : float
        With ``peaks``, see `peak_blobs`.
    paper_code : bool
        Use the method of the authors' code: each map scaled to [0, 1], 0.15, and one dilation.
    height, prominence : float
        Least height and prominence of a peak in Deep GRU's result.
    bright : float
        Global S/N in the integrated image above which one line is sufficient (paper: 6, in other units).
    faint : float
        Least global S/N of the focused image (paper: 1).
    apart : float
        Distance above which two peaks are two sources [pixel].
    split : float
        With ``peaks``, fraction of the peak in the focused image without continuum at the edge of the box of
        a source that was split off, and of the source that it was split from.
    friend, plateau : float
        With ``label``, least S/N of a pixel that joins a growing source, and fraction of the best global S/N
        below which growth ends.
    dilation : float
        Dilation of the segmentation mask.
    reliability_fit : tuple of float
        Logistic curve: a constant and a slope for each of `faintsky.published.deepfocus.finding.Source`'s
        features.
    reliability : float
        Default least reliability in the catalogue.
    trained : dict
        ``cell`` [arcsec], ``beam`` [arcsec, arcsec], ``channels`` and ``width`` [Hz] of the training cubes.
    """

    method: Literal["deepfocus"] = "deepfocus"
    extract: Literal["label", "peaks"] = "label"
    threshold: float = PAPER_THRESHOLD
    least: float = Field(0.0, ge=0)
    share: float = Field(0.1, gt=0, lt=1)
    dip: float = Field(0.05, gt=0, lt=1)
    paper_code: bool = False
    height: float = Field(0.1, ge=0)
    prominence: float = Field(0.05, ge=0)
    bright: float = 6.0
    faint: float = 1.0
    apart: float = Field(3.0, ge=0)
    split: float = Field(0.3, gt=0, lt=1)
    friend: float = 2.0
    plateau: float = 0.5
    dilation: float = Field(1.5, gt=0)
    reliability_fit: tuple[float, ...] = (0.0, 1.0, 0.0, 0.0)
    reliability: float = 0.0
    trained: dict[str, Any] = Field({})


def blobs_of(picture: Array32, settings: FindingSettings) -> list[Blob]:
    """Step i by the settings, brightest first."""
    if settings.extract == "peaks" and not settings.paper_code:
        return peak_blobs(picture, settings.least, settings.share, settings.dip)
    return find_blobs(picture, settings.threshold, settings.least, paper_code=settings.paper_code)


class Span:
    """A range of channels of twice the full width at half maximum of a line."""

    z: float
    fwhm_z: float

    @property
    def z_min(self) -> float:
        """Lower end [channel]."""
        return self.z - self.fwhm_z

    @property
    def z_max(self) -> float:
        """Its other end."""
        return self.z + self.fwhm_z

    def overlaps(self, other: "Span") -> bool:
        """Whether the ranges have channels in common."""
        return self.z_min < other.z_max and other.z_min < self.z_max


@dataclass(frozen=True)
class Line(Span):
    """An emission peak of a spectrum.

    Parameters
    ----------
    z, fwhm_z : float
        Centre and full width at half maximum of the fitted Gaussian [channel].
    height : float
        Its amplitude in Deep GRU's result.
    """

    z: float
    fwhm_z: float
    height: float


def find_lines(clean: Array, height: float = 0.1, prominence: float = 0.05) -> list[Line]:
    """Peaks of a denoised spectrum ``[chan]``, each with a fitted Gaussian, highest first.

    Parameters
    ----------
    clean : array
        From `faintsky.published.deepfocus.networks.clean_spectra`.
    height, prominence : float, optional
        Least height and prominence of a peak. The paper's threshold of 0.1 is taken as the height; the
        ``threshold`` of `scipy.signal.find_peaks`, a step between neighbours, misses lines wider than 4
        channels.

    Returns
    -------
    list of Line
    """
    # padded, so that a peak at the end of the band counts
    padded = np.concatenate([[0.0], np.asarray(clean, dtype=float), [0.0]])
    places, _ = find_peaks(padded, height=height, prominence=prominence)
    most = min(MOST_PEAKS, len(clean) // 3)
    places = np.sort(places[np.argsort(-padded[places])[:most]])
    if not len(places):
        return []
    widths = np.clip(peak_widths(padded, places, rel_height=0.5)[0], 1.0, len(clean))
    start = np.stack([padded[places], places - 1.0, widths / FWHM_PER_SIGMA], axis=1)
    fitted = _fit(padded[1:-1], start)
    lines = []
    for first, best in zip(start, fitted):
        good = best[0] > 0 and abs(best[1] - first[1]) <= max(3.0, FWHM_PER_SIGMA * first[2])
        good = good and 1.0 <= FWHM_PER_SIGMA * best[2] <= len(clean)
        amplitude, z, sigma = best if good else first
        lines.append(Line(float(z), float(sigma * FWHM_PER_SIGMA), float(amplitude)))
    return sorted(lines, key=lambda line: -line.height)


def _fit(spectrum: Float, start: Float) -> Float:
    """Gaussians ``[n, 3]`` (amplitude, middle, sigma) fitted together by Levenberg-Marquardt."""
    channels = np.arange(len(spectrum))[:, None]

    def terms(p: Float) -> tuple[Float, Float, Float]:
        amplitude, z, sigma = p.reshape(-1, 3).T
        t = (channels - z) / sigma
        return np.exp(-0.5 * t * t), t, amplitude / sigma

    def misfit(p: Float) -> Float:
        profile, _, _ = terms(p)
        return profile @ p.reshape(-1, 3)[:, 0] - spectrum

    def slopes(p: Float) -> Float:
        profile, t, scale = terms(p)
        return np.stack([profile, scale * profile * t, scale * profile * t * t], axis=2).reshape(
            len(spectrum), -1
        )

    with np.errstate(all="ignore"):
        try:
            found = least_squares(misfit, start.ravel(), slopes, method="lm", max_nfev=50).x.reshape(-1, 3)
        except ValueError:  # a step of the fit led to infinite values
            return start
    found[:, 2] = np.abs(found[:, 2])
    return np.where(np.isfinite(found).all(axis=1, keepdims=True), found, start)


def line_free(n_chan: int, lines: Sequence[Line]) -> Bool:
    """Channels outside of every emission range, ``[chan]``."""
    channels = np.arange(n_chan)
    free = np.ones(n_chan, dtype=bool)
    for line in lines:
        free &= (channels < line.z_min) | (channels > line.z_max)
    return free


def continuum_of(spectrum: Array32, lines: Sequence[Line]) -> Float:
    """Straight line fitted to the line-free channels, ``[chan]``; 0 with fewer than two of them."""
    free = line_free(len(spectrum), lines)
    if free.sum() < 2:
        return np.zeros(len(spectrum))
    channels = np.arange(len(spectrum))
    slope, level = np.polyfit(channels[free], spectrum[free], 1)
    return np.asarray(level + slope * channels, dtype=float)


@dataclass(frozen=True)
class Patch:
    """Part of an image, NaN where blank.

    Parameters
    ----------
    values : array
        ``[y, x]``
    y0, x0 : int
        Its first pixel in the image.
    """

    values: Array32
    y0: int
    x0: int


def focused_patch(
    cube: Array32, y: float, x: float, z_min: float, z_max: float, radius: float = SIZE / 2
) -> Patch:
    """Sum of a channel range about a position; like `faintsky.cutouts.focus`, but blank pixels stay blank.

    Parameters
    ----------
    cube : array
        ``[chan, y, x]``
    y, x : float
        Centre of the patch [pixel].
    z_min, z_max : float
        Range of channels.
    radius : float, optional
        Half of the patch's side [pixel].

    Returns
    -------
    Patch
    """
    part = cube[channel_range(z_min, z_max, len(cube))]
    half = int(np.ceil(radius)) + 1
    y0, x0 = max(round(y) - half, 0), max(round(x) - half, 0)
    part = part[:, y0 : max(round(y) + half + 1, 0), x0 : max(round(x) + half + 1, 0)]
    blank = np.isnan(part)
    total = np.where(blank, np.float32(0), part).sum(axis=0)
    total[blank.all(axis=0)] = np.nan
    return Patch(total, y0, x0)


def reach(box: Box) -> float:
    """Radius of the circle around a box [pixel]."""
    x0, x1, y0, y1 = box
    return 0.5 * float(np.hypot(x1 - x0 + 1, y1 - y0 + 1))


def global_snr(patch: Patch, box: Box, beam_area: float = 1.0) -> float:
    """Flux in the circle around a box, over its error from the surrounding annulus of equal area.

    Parameters
    ----------
    patch : Patch
        Contains the annulus, of which the outer radius is sqrt(2) times the circle's.
    box : tuple of int
        ``x_min, x_max, y_min, y_max`` in the image.
    beam_area : float, optional
        Area of the beam, the number of pixels per independent measurement.

    Returns
    -------
    float
        0 if too little of circle or annulus is in the image.
    """
    x0, x1, y0, y1 = box
    radius = reach(box)
    dy = np.arange(patch.values.shape[0])[:, None] + patch.y0 - 0.5 * (y0 + y1)
    dx = np.arange(patch.values.shape[1])[None, :] + patch.x0 - 0.5 * (x0 + x1)
    r2 = dy * dy + dx * dx
    known = np.isfinite(patch.values)
    inside, ring = known & (r2 <= radius**2), known & (r2 > radius**2) & (r2 <= 2 * radius**2)
    n = int(inside.sum())
    if n == 0 or ring.sum() < _LEAST_RING:
        return 0.0
    around = patch.values[ring]
    level = float(np.median(around))
    sigma = MAD_TO_SIGMA * float(np.median(np.abs(around - level)))
    if sigma == 0:
        return 0.0
    error = sigma * np.sqrt(n * min(max(beam_area, 1.0), n))
    return float((patch.values[inside] - level).sum() / error)


def pixel_snr(patch: Patch) -> Array32:
    """Each pixel over the standard deviation of the whole image (eq. 18), ``[y, x]``; 0 where blank."""
    spread = float(np.nanstd(patch.values)) if np.isfinite(patch.values).any() else 0.0
    if spread == 0:
        return np.zeros_like(patch.values)
    return np.nan_to_num(patch.values / np.float32(spread))


def brightest_pixel(patch: Patch, box: Box) -> tuple[int, int]:
    """``(y, x)`` in the image of the pixel of highest S/N within a box."""
    x0, x1, y0, y1 = box
    ys = slice(max(y0 - patch.y0, 0), max(y1 + 1 - patch.y0, 1))
    xs = slice(max(x0 - patch.x0, 0), max(x1 + 1 - patch.x0, 1))
    part = pixel_snr(patch)[ys, xs]
    j, i = np.unravel_index(int(part.argmax()), part.shape)
    return int(j) + ys.start + patch.y0, int(i) + xs.start + patch.x0


def grow(
    patch: Patch, y: int, x: int, beam_area: float = 1.0, *, friend: float = 1.0, plateau: float = 0.8
) -> tuple[Box, float, float]:
    """Link pixels to the brightest one by friends of friends, until the global S/N decreases.

    Parameters
    ----------
    patch : Patch
        Focused on the source.
    y, x : int
        First pixel, in the image.
    beam_area : float, optional
        See `global_snr`.
    friend : float, optional
        Lowest S/N of a neighbour that joins.
    plateau : float, optional
        Fraction of the best global S/N below which growth ends.

    Returns
    -------
    box : tuple of int
        Box of all linked pixels.
    x, y : float
        Their centre, weighted by brightness.
    """
    candidates = pixel_snr(patch) > friend
    linked = np.zeros(candidates.shape, dtype=bool)
    linked[y - patch.y0, x - patch.x0] = True
    best = 0.0
    while True:
        further = linked | (binary_dilation(linked, np.ones((3, 3), dtype=bool)) & candidates)
        if (further == linked).all():
            break
        snr = global_snr(patch, _box_of(further, patch), beam_area)
        if snr < plateau * best:
            break
        linked, best = further, max(best, snr)
    return _outlined(linked, patch)


def around(patch: Patch, y: int, x: int, share: float) -> tuple[Box, float, float]:
    """Box and centre of connected pixels above a fraction of a pixel's value; see `grow`.

    Parameters
    ----------
    patch : Patch
        Focused on the source.
    y, x : int
        The pixel, in the image.
    share : float
        The fraction.

    Returns
    -------
    box, x, y
        As from `grow`.
    """
    values = np.nan_to_num(patch.values)
    j, i = y - patch.y0, x - patch.x0
    parts = label(values >= share * values[j, i])
    return _outlined(parts == parts[j, i], patch) if values[j, i] > 0 else ((x, x, y, y), x, y)


def _outlined(linked: Bool, patch: Patch) -> tuple[Box, float, float]:
    ys, xs = np.nonzero(linked)
    weight = np.clip(np.nan_to_num(patch.values[ys, xs]), 0, None) + np.finfo(float).tiny
    centre_x, centre_y = np.average(xs, weights=weight), np.average(ys, weights=weight)
    return _box_of(linked, patch), float(centre_x) + patch.x0, float(centre_y) + patch.y0


def _box_of(linked: Bool, patch: Patch) -> Box:
    ys, xs = np.nonzero(linked)
    (x0, x1), (y0, y1) = ((int(v.min()), int(v.max())) for v in (xs + patch.x0, ys + patch.y0))
    return x0, x1, y0, y1


@dataclass(frozen=True)
class Source(Span):
    """A source in frequency and in the image.

    Parameters
    ----------
    box : tuple of int
        ``x_min, x_max, y_min, y_max``
    x, y, z, fwhm_z : float
        [pixel, pixel, channel, channel]
    snr, snr_integrated : float
        Global S/N of the focused and of the integrated image.
    blob : Blob
        Its blob.
    height : float
        Height of its line in Deep GRU's result.
    lines : tuple of Line
        All lines of that blob's spectrum.
    secondary : bool
        Whether it was split off from the blob.
    flagged : bool
        Whether that spectrum has several peaks.
    """

    box: Box
    x: float
    y: float
    z: float
    fwhm_z: float
    snr: float
    snr_integrated: float
    blob: Blob
    height: float
    lines: tuple[Line, ...] = ()
    secondary: bool = False
    flagged: bool = False

    FEATURES: ClassVar = ("logarithm of the S/N", "blob's peak", "line's height", "blob's rise")

    @property
    def features(self) -> tuple[float, ...]:
        """Features for the reliability: the S/N, and values of both networks."""
        return float(np.log(max(self.snr, 1e-3))), self.blob.peak, self.height, self.blob.rise


@dataclass
class Tally:
    """Counts of candidates.

    Attributes
    ----------
    steps : dict of str to int
        Blobs, sources split off, then candidates removed by each of `RULES`.
    removed : list
        ``[rule, x, y, z]`` of every candidate removed.
    """

    steps: dict[str, int] = field(default_factory=lambda: dict.fromkeys((*EVENTS, *RULES), 0))
    removed: list[list[object]] = field(default_factory=list)

    def count(self, name: str) -> None:
        """Count an event."""
        self.steps[name] += 1

    def remove(self, rule: str, x: float, y: float, z: float = float("nan")) -> None:
        """Count a candidate removed by a rule.

        Parameters
        ----------
        rule : str
            One of `RULES`.
        x, y, z : float
            Its position.
        """
        self.count(rule)
        self.removed.append([rule, x, y, z])


@dataclass(frozen=True)
class Focus:
    """Focusing on the sources of one cube.

    Parameters
    ----------
    cube : array
        ``[chan, y, x]``, NaN where blank.
    image : array
        `faintsky.cutouts.integrated` of it.
    settings : FindingSettings
        Thresholds and choices.
    beam_area : float
        Area of the beam, over which noise is correlated [pixel].
    """

    cube: Array32
    image: Array32
    settings: FindingSettings
    beam_area: float = 1.0

    def patch(self, box: Box, z_min: float, z_max: float) -> Patch:
        """An image focused on a range of channels, wide enough for the annulus.

        Parameters
        ----------
        box : tuple of int
            The source.
        z_min, z_max : float
            Range of channels.

        Returns
        -------
        Patch
        """
        x0, x1, y0, y1 = box
        radius = max(SIZE / 2, np.sqrt(2) * reach(box))
        return focused_patch(self.cube, (y0 + y1) / 2, (x0 + x1) / 2, z_min, z_max, radius)

    def snr(self, box: Box, z_min: float, z_max: float) -> float:
        """Global S/N of the focused image. See `patch`.

        Parameters
        ----------
        box, z_min, z_max
            As for `patch`.
        """
        return global_snr(self.patch(box, z_min, z_max), box, self.beam_area)

    def snr_integrated(self, box: Box) -> float:
        """Global S/N of the image integrated over all channels."""
        return global_snr(Patch(self.image, 0, 0), box, self.beam_area)

    def line_patch(self, box: Box, line: Line, lines: Sequence[Line]) -> Patch:
        """An image focused on a line, with ``peaks`` without the continuum. See `patch`."""
        patch = self.patch(box, line.z_min, line.z_max)
        free = line_free(len(self.cube), lines)
        if self.settings.extract == "label" or not free.any():
            return patch
        n_y, n_x = patch.values.shape
        near = np.nan_to_num(self.cube[:, patch.y0 : patch.y0 + n_y, patch.x0 : patch.x0 + n_x])
        used = channel_range(line.z_min, line.z_max, len(self.cube))
        return replace(patch, values=patch.values - (used.stop - used.start) * near[free].mean(axis=0))

    def sources_of(
        self, blob: Blob, lines: Sequence[Line], tally: Tally, others: Sequence[Blob] = ()
    ) -> list[Source]:
        """Fig. 14, except the last cut, for one blob and the lines of its spectrum, highest first.

        With ``peaks``, a line from the blob's own centre has priority over a higher one from a neighbour's
        emission in its box, and emission in a neighbour's box belongs to the neighbour.

        Parameters
        ----------
        blob : Blob
            The blob.
        lines : sequence of Line
            Lines of its spectrum.
        tally : Tally
            Counts the candidates removed by each rule.
        others : sequence of Blob, optional
            All blobs of the cube.

        Returns
        -------
        list of Source
        """
        if not lines:
            tally.remove(NO_LINE, blob.x, blob.y)
            return []
        flagged, apart = len(lines) > 1, self.settings.apart
        seen = [self.line_patch(blob.box, line, lines) for line in lines]
        places = [brightest_pixel(patch, blob.box) for patch in seen]
        chosen = 0
        if flagged:
            tally.count("flagged for deblending")
            if self.settings.extract == "peaks":
                own = [k for k, (y, x) in enumerate(places) if np.hypot(y - blob.y, x - blob.x) <= apart]
                chosen = own[0] if own else 0
        first = lines[chosen]
        whole = self.snr_integrated(blob.box)
        primary = Source(
            blob.box, blob.x, blob.y, first.z, first.fwhm_z, self.snr(blob.box, first.z_min, first.z_max),
            whole, blob, first.height, tuple(lines), flagged=flagged,
        )  # fmt: skip
        if whole <= self.settings.bright and primary.snr <= whole:
            tally.remove(CONDITION_1, blob.x, blob.y, first.z)
            return []
        split: list[Source] = []
        for line, patch, (y, x) in zip(lines, seen, places):
            if line is first:
                continue
            if np.hypot(y - places[chosen][0], x - places[chosen][1]) > apart:
                if any(b is not blob and _in_box(b.box, y, x) for b in others):
                    tally.remove(NEIGHBOUR, x, y, line.z)
                    continue
                tally.count("split off")
                new = replace(primary, z=line.z, fwhm_z=line.fwhm_z, height=line.height, secondary=True)
                split.append(self._grown(new, patch, y, x))
                continue
            if not line.overlaps(primary):
                tally.remove(SAME_PLACE, blob.x, blob.y, line.z)
                continue
            joined = self._joined(primary, line)
            if joined is None:
                tally.remove(CONDITION_2, blob.x, blob.y, line.z)
            else:
                tally.count("peaks joined")
                primary = joined
        if split:  # its box was the common one of the blended sources
            primary = self._grown(primary, seen[chosen], *places[chosen])
        return [primary, *split]

    def _grown(self, source: Source, patch: Patch, y: int, x: int) -> Source:
        """A source with its own box and centre (Fig. 14), grown about a pixel of its focused image."""
        s = self.settings
        if s.extract == "peaks":
            box, at_x, at_y = around(patch, y, x, s.split)
        else:
            box, at_x, at_y = grow(patch, y, x, self.beam_area, friend=s.friend, plateau=s.plateau)
        return replace(
            source, box=box, x=at_x, y=at_y, snr=self.snr(box, source.z_min, source.z_max),
            snr_integrated=self.snr_integrated(box),
        )  # fmt: skip

    def _joined(self, primary: Source, line: Line) -> Source | None:
        """The primary with its range extended over another peak, if that increases the S/N."""
        low, high = min(primary.z_min, line.z_min), max(primary.z_max, line.z_max)
        snr = self.snr(primary.box, low, high)
        if snr <= primary.snr:
            return None
        return replace(primary, z=(low + high) / 2, fwhm_z=(high - low) / 2, snr=snr)


def last_cuts(sources: Sequence[Source], settings: FindingSettings, tally: Tally) -> list[Source]:
    """Remove duplicate sources and those too faint in the focused image; strongest first.

    Two blobs may contain the same source. Of two sources with common frequencies and centres within the
    distance of the 3-pixel rule, only the stronger is kept. A source that was split off is also removed if it
    lies in the box of another.

    Parameters
    ----------
    sources : sequence of Source
        All sources of the cube.
    settings : FindingSettings
        Thresholds.
    tally : Tally
        Counts the sources removed.

    Returns
    -------
    list of Source
    """
    kept: list[Source] = []
    for s in sorted(sources, key=lambda s: (s.secondary, -s.snr)):
        if any(s.overlaps(o) and _same_place(s, o, settings.apart) for o in kept):
            tally.remove(TWICE, s.x, s.y, s.z)
        elif s.snr < settings.faint:
            tally.remove(FAINT, s.x, s.y, s.z)
        else:
            kept.append(s)
    return sorted(kept, key=lambda s: -s.snr)


def _same_place(one: Source, other: Source, apart: float) -> bool:
    if np.hypot(other.x - one.x, other.y - one.y) <= apart:
        return True
    return one.secondary and _in_box(other.box, one.y, one.x)


def _in_box(box: Box, y: float, x: float) -> bool:
    x0, x1, y0, y1 = box
    return x0 <= x <= x1 and y0 <= y <= y1

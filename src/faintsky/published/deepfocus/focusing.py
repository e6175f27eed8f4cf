"""Step iii: spectral focusing, deblending and the removal of false detections (Section 4.4 iii, Fig. 14)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from faintsky.cutouts import SIZE, Box
from faintsky.published.deepfocus.blobs import Blob
from faintsky.published.deepfocus.settings import Settings
from faintsky.published.deepfocus.snr import (
    Patch,
    brightest_pixel,
    focused_patch,
    global_snr,
    grow,
    reach,
)
from faintsky.published.deepfocus.spectra import Line

Array = NDArray[np.float32]

RULES = (
    "no line in the spectrum",
    "1: faint and no gain by focusing",
    "2: secondary peak of the same source",
    "secondary peak at the same place",
    "detected twice",
    "focused S/N too low",
    "reliability too low",
)
"""What may remove a candidate, in order; the numbers are those of Fig. 14."""
EVENTS = ("blobs", "flagged for deblending", "split off", "peaks joined")
NO_LINE, CONDITION_1, CONDITION_2, SAME_PLACE, TWICE, FAINT, UNRELIABLE = RULES


@dataclass(frozen=True)
class Source:
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
        Where it was found.
    height : float
        Of its line in Deep GRU's answer.
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

    @property
    def features(self) -> tuple[float, float, float]:
        """What its reliability is judged by: logarithm of the S/N, and what both networks made of it."""
        return float(np.log(max(self.snr, 1e-3))), self.blob.peak, self.height

    @property
    def z_min(self) -> float:
        """First end of the emission range [channel]."""
        return self.z - self.fwhm_z

    @property
    def z_max(self) -> float:
        """Its other end."""
        return self.z + self.fwhm_z


@dataclass
class Tally:
    """What became of the candidates.

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
        """One more."""
        self.steps[name] += 1

    def remove(self, rule: str, x: float, y: float, z: float = float("nan")) -> None:
        """A candidate is taken out by a rule."""
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
    settings : Settings
    beam_area : float
        Of the noise's correlation [pixel].
    """

    cube: Array
    image: Array
    settings: Settings
    beam_area: float = 1.0

    def patch(self, box: Box, z_min: float, z_max: float) -> Patch:
        """Focused on a range, wide enough for the annulus."""
        x0, x1, y0, y1 = box
        radius = max(SIZE / 2, np.sqrt(2) * reach(box))
        return focused_patch(self.cube, (y0 + y1) / 2, (x0 + x1) / 2, z_min, z_max, radius)

    def snr(self, box: Box, z_min: float, z_max: float) -> float:
        """Global S/N of the focused image."""
        return global_snr(self.patch(box, z_min, z_max), box, self.beam_area)

    def snr_integrated(self, box: Box) -> float:
        """Global S/N of the image integrated over all channels."""
        return global_snr(Patch(self.image, 0, 0), box, self.beam_area)

    def sources_of(self, blob: Blob, lines: Sequence[Line], tally: Tally) -> list[Source]:
        """Fig. 14 for one blob and the lines of its spectrum, highest first; the last cut is not made yet.

        Parameters
        ----------
        blob : Blob
        lines : sequence of Line
        tally : Tally
            Counts what each rule removes.
        """
        if not lines:
            tally.remove(NO_LINE, blob.x, blob.y)
            return []
        flagged = len(lines) > 1
        if flagged:
            tally.count("flagged for deblending")
        first = lines[0]
        whole = self.snr_integrated(blob.box)
        primary = Source(
            blob.box, blob.x, blob.y, first.z, first.fwhm_z, self.snr(blob.box, first.low, first.high),
            whole, blob, first.height, tuple(lines), flagged=flagged,
        )  # fmt: skip
        if whole <= self.settings.bright and primary.snr <= whole:
            tally.remove(CONDITION_1, blob.x, blob.y, first.z)
            return []
        reference = brightest_pixel(self.patch(blob.box, first.low, first.high), blob.box)
        split: list[Source] = []
        for line in lines[1:]:
            new = self._secondary(primary, line, reference)
            if new is not None:
                tally.count("split off")
                split.append(new)
                continue
            if not line.overlaps(Line(primary.z, primary.fwhm_z, first.height)):
                tally.remove(SAME_PLACE, blob.x, blob.y, line.z)
                continue
            joined = self._joined(primary, line)
            if joined is None:
                tally.remove(CONDITION_2, blob.x, blob.y, line.z)
            else:
                tally.count("peaks joined")
                primary = joined
        return [primary, *split]

    def _secondary(self, primary: Source, line: Line, reference: tuple[int, int]) -> Source | None:
        """A source of its own, where the brightest pixel in its channels is elsewhere than the primary's."""
        patch = self.patch(primary.box, line.low, line.high)
        y, x = brightest_pixel(patch, primary.box)
        if np.hypot(y - reference[0], x - reference[1]) <= self.settings.apart:
            return None
        box, at_x, at_y = grow(
            patch, y, x, self.beam_area, friend=self.settings.friend, plateau=self.settings.plateau
        )
        return replace(
            primary, box=box, x=at_x, y=at_y, z=line.z, fwhm_z=line.fwhm_z, height=line.height,
            secondary=True, snr=self.snr(box, line.low, line.high), snr_integrated=self.snr_integrated(box),
        )  # fmt: skip

    def _joined(self, primary: Source, line: Line) -> Source | None:
        """The primary with its range extended over another peak, where that raises the S/N."""
        low, high = min(primary.z_min, line.low), max(primary.z_max, line.high)
        snr = self.snr(primary.box, low, high)
        if snr <= primary.snr:
            return None
        return replace(primary, z=(low + high) / 2, fwhm_z=(high - low) / 2, snr=snr)


def last_cuts(sources: Sequence[Source], settings: Settings, tally: Tally) -> list[Source]:
    """Drop what was found twice and what is too faint when focused; strongest first.

    Two blobs may hold the same source: of two sources no farther apart than the 3-pixel rule's distance, at
    frequencies in common, the stronger stays.
    """
    kept: list[Source] = []
    for s in sorted(sources, key=lambda s: -s.snr):
        if any(_same(s, other, settings.apart) for other in kept):
            tally.remove(TWICE, s.x, s.y, s.z)
        elif s.snr < settings.faint:
            tally.remove(FAINT, s.x, s.y, s.z)
        else:
            kept.append(s)
    return kept


def _same(a: Source, b: Source, apart: float) -> bool:
    near = np.hypot(a.x - b.x, a.y - b.y) <= apart
    return bool(near and a.z_min < b.z_max and b.z_min < a.z_max)

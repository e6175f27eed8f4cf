"""Data for the second phase of training: what each network gets from those before it (Section 4.5).

A data set's cubes are made again one at a time, seen by the pipeline as far as it is trained, and what it
finds is kept where it is a true source: for Deep GRU the spectra of Blobs Finder's boxes, for the residual
networks the focused and line images about the sources found. The files are like those of the first phase.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from faintsky.beams import beam_pixels
from faintsky.simulating.observatory import AlmaObservatory, Observed
from faintsky.simulating.recorded import recorded_settings
from faintsky.simulating.truth import truth_table
from faintsky.system import replacing

if TYPE_CHECKING:
    from faintsky.published.deepfocus.pipeline import DeepFocus, Result

Float = NDArray[np.float64]

LEAST_IOU, LARGEST_DISTANCE = 0.6, 3.0
"""Criteria of Section 5.1."""
SPECTRA, IMAGES = "spectra", "images"
"""Folders of the two kinds of data."""


def overlap(a: Float, b: Float) -> Float:
    """Intersection over union of ranges ``[n, 2]`` and ``[m, 2]``, ``[n, m]``."""
    inside = np.minimum(a[:, None, 1], b[None, :, 1]) - np.maximum(a[:, None, 0], b[None, :, 0])
    inside = np.clip(inside, 0, None)
    union = (a[:, 1] - a[:, 0])[:, None] + (b[:, 1] - b[:, 0])[None] - inside
    return inside / np.maximum(union, 1e-9)


def overlap_2d(a: Float, b: Float) -> Float:
    """The same for boxes ``[n, 4]``: ``x_min, x_max, y_min, y_max``, whole pixels, both ends in."""
    edges = np.array([-0.5, 0.5, -0.5, 0.5])
    a, b = a + edges, b + edges
    inside = np.ones((len(a), len(b)))
    for k in (0, 2):
        length = np.minimum(a[:, None, k + 1], b[None, :, k + 1]) - np.maximum(a[:, None, k], b[None, :, k])
        inside *= np.clip(length, 0, None)
    area_a, area_b = ((v[:, 1] - v[:, 0]) * (v[:, 3] - v[:, 2]) for v in (a, b))
    return inside / np.maximum(area_a[:, None] + area_b[None] - inside, 1e-9)


def paired(admissible: NDArray[np.bool_], distance: Float) -> NDArray[np.intp]:
    """Partner of each of ``n`` found sources, in their order, among ``m`` true ones, ``[n]``; -1 for none.

    Parameters
    ----------
    admissible : array of bool
        ``[n, m]``
    distance : array
        The closest one still free is taken, ``[n, m]``.
    """
    partner = np.full(len(admissible), -1, dtype=np.intp)
    free = np.ones(admissible.shape[1], dtype=bool)
    for i, row in enumerate(admissible):
        choice = np.flatnonzero(row & free)
        if len(choice):
            partner[i] = choice[np.argmin(distance[i, choice])]
            free[partner[i]] = False
    return partner


def truth_boxes(truth: dict[str, Any]) -> Float:
    """Boxes of the true sources, ``[n, 4]``."""
    names = ("x_min", "x_max", "y_min", "y_max")
    return np.stack([np.asarray(truth[k], dtype=float) for k in names], axis=1)


def centres(boxes: Float) -> Float:
    """``[n, 2]`` of boxes ``[n, 4]``."""
    return np.stack([boxes[:, :2].mean(axis=1), boxes[:, 2:].mean(axis=1)], axis=1)


def in_image(found: Float, true: Float) -> tuple[NDArray[np.bool_], Float]:
    """Which boxes ``[n, 4]`` and ``[m, 4]`` agree by the criteria in x and y, and how far they are apart."""
    apart = np.linalg.norm(centres(found)[:, None] - centres(true)[None], axis=2)
    return (overlap_2d(found, true) >= LEAST_IOU) & (apart <= LARGEST_DISTANCE), apart


def write_predicted(
    data: Path,
    pipeline: DeepFocus,
    out: Path,
    indices: Sequence[int],
    progress: Callable[[int, int, str], None] | None = None,
) -> None:
    """Run a pipeline over cubes of a data set and keep what it sees of true sources.

    Parameters
    ----------
    data : pathlib.Path
        Folder of ``faintsky simulate alma``; only its ``dataset.json`` is read.
    pipeline : DeepFocus
        With the networks trained so far: at least ``blobs_finder`` and ``deep_gru``.
    out : pathlib.Path
        Gets the folders ``spectra`` and ``images``, each with ``NNNN_compact.npz`` and ``NNNN_truth.ecsv``.
    indices : sequence of int
        Numbers of the cubes; those that are there already are left out.
    progress : callable, optional
        Called with cubes done, cubes in all, and a word.

    Raises
    ------
    InputError
        Where the data set cannot be made again.
    """
    missing = [i for i in indices if not _files(out / IMAGES, i)[1].is_file()]
    if not missing:
        return
    observatory, seed = observatory_of(data)
    for folder in (SPECTRA, IMAGES):
        (out / folder).mkdir(parents=True, exist_ok=True)
    area = beam_area(observatory)
    for done, index in enumerate(missing, start=len(indices) - len(missing) + 1):
        seen = observatory.sample(seed, index)
        result = pipeline.run(seen.dirty, area)
        # the images last: where they are, the spectra are
        _write(out / SPECTRA, index, seen, *_spectra(seen, result))
        _write(out / IMAGES, index, seen, *_images(seen, result))
        if progress is not None:
            progress(done, len(indices), "predictions on training cubes")


def count_predicted(folder: Path, indices: Sequence[int]) -> int:
    """Sources kept of some cubes, in one of the folders ``spectra`` and ``images``."""
    total = 0
    for index in indices:
        with np.load(_files(folder, index)[0]) as arrays:
            total += len(arrays["spectra" if folder.name == SPECTRA else "focused"])
    return total


def observatory_of(data: Path) -> tuple[AlmaObservatory, int]:
    """The telescope that made a data set, and its seed."""
    settings, seed = recorded_settings(data)
    return AlmaObservatory(settings), seed


def beam_area(observatory: AlmaObservatory) -> float:
    """Of the synthesised beam, median over the channels [pixel]."""
    return float(np.median(beam_pixels(observatory.instrument.beams, observatory.instrument.grid.cell)))


def _spectra(seen: Observed, result: Result) -> tuple[dict[str, NDArray], NDArray[np.intp]]:
    """Dirty and true spectra of the blobs that are sources, and which ones."""
    boxes = np.array([b.box for b in result.blobs], dtype=float).reshape(-1, 4)
    partner = paired(*in_image(boxes, truth_boxes(seen.truth)))
    good = np.flatnonzero(partner >= 0)
    clean = np.zeros((len(good), len(seen.dirty)), dtype=np.float32)
    for row, i in enumerate(good):
        x0, x1, y0, y1 = result.blobs[i].box
        clean[row] = seen.sky.images[:, y0 : y1 + 1, x0 : x1 + 1].sum(axis=(1, 2)) @ seen.sky.spectra
    return {"spectra": result.spectra[good], "clean_spectra": clean}, partner[good]


def _images(seen: Observed, result: Result) -> tuple[dict[str, NDArray], NDArray[np.intp]]:
    """Focused and line images of the sources that are true ones, and which ones."""
    truth = seen.truth
    boxes = np.array([s.box for s in result.sources], dtype=float).reshape(-1, 4)
    ranges = np.array([(s.z_min, s.z_max) for s in result.sources], dtype=float).reshape(-1, 2)
    true_ranges = np.stack([np.asarray(truth["z_min"], float), np.asarray(truth["z_max"], float)], axis=1)
    near, apart = in_image(boxes, truth_boxes(truth))
    partner = paired(near & (overlap(ranges, true_ranges) >= LEAST_IOU), apart)
    good = partner >= 0
    return {"focused": result.focused[good], "line_images": result.lines[good]}, partner[good]


def _files(folder: Path, index: int) -> tuple[Path, Path]:
    return folder / f"{index:04d}_compact.npz", folder / f"{index:04d}_truth.ecsv"


def _write(folder: Path, index: int, seen: Observed, arrays: dict[str, NDArray], rows: NDArray) -> None:
    compact, truth = _files(folder, index)
    arrays["sigma"] = seen.sigma.astype(np.float32)
    with replacing(compact) as name, open(name, "wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    columns = {k: np.asarray(v)[rows] for k, v in seen.truth.items()}
    with replacing(truth) as name:
        truth_table(columns, {"sample": index}).write(name, format="ascii.ecsv", delimiter=",")

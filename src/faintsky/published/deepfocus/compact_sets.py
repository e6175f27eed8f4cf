"""Folders of ``faintsky simulate alma --products compact``: cubes to train on, cubes to validate with."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from faintsky.errors import InputError

Array = NDArray[np.float32]
TRUTH = ("dc_maj", "dc_min", "dc_pa", "fwhm_z", "line_flux_peak", "pb")
"""Columns of the truth tables that are read."""


@dataclass(frozen=True)
class CompactSet:
    """The files of a folder, by cube.

    Parameters
    ----------
    train, held : tuple of pathlib.Path
        ``NNNN_compact.npz`` of training and of validation.
    cell : float
        Of the images [arcsec].
    """

    train: tuple[Path, ...]
    held: tuple[Path, ...]
    cell: float


def open_compact(folder: Path, train: float = 0.6, validation: float = 0.2) -> CompactSet:
    """Split a folder by cube: the first ones train, the next ones validate, the others are not read.

    Parameters
    ----------
    folder : pathlib.Path
    train, validation : float
        Shares of the cubes (60, 20 and 20 % with those for tests in the paper).

    Raises
    ------
    InputError
        Where it is no such folder, or holds too few cubes for such shares.
    """
    card = folder / "dataset.json"
    files = sorted(folder.glob("*_compact.npz"), key=lambda f: int(f.name.partition("_")[0]))
    if not files or not card.is_file():
        raise InputError(
            "holds no *_compact.npz and dataset.json", "faintsky simulate alma --products compact", folder
        )
    if min(train, validation) <= 0 or train + validation > 1 + 1e-9:
        raise InputError(f"train={train} and validation={validation} are no shares", "give e.g. 0.6 and 0.2")
    a = round(train * len(files))
    b = round((train + validation) * len(files))
    if a < 1 or b <= a:
        raise InputError(f"{len(files)} cubes are too few to train and to validate", "simulate more", folder)
    try:
        cell = float(json.loads(card.read_text(encoding="utf-8"))["parameters"]["grid"]["cell"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError("is no card of a data set", "simulate again", card) from error
    return CompactSet(tuple(files[:a]), tuple(files[a:b]), cell)


def read_images(files: Sequence[Path]) -> tuple[Tensor, Tensor]:
    """Integrated images, each over its largest value, in half precision: they are scaled anew where used.

    Returns
    -------
    dirty, sky : Tensor
        ``[image, y, x]``; blanks are 0.

    Raises
    ------
    InputError
        For a damaged file, or images of different sizes.
    """
    pairs = [tuple(_unit(a) for a in _load(f, ("dirty", "sky"))) for f in files]
    if len({image.shape for pair in pairs for image in pair}) > 1:
        raise InputError("its images differ in size", "simulate one size only", files[0].parent)
    dirty, sky = (torch.from_numpy(np.stack(images)) for images in zip(*pairs, strict=True))
    return dirty, sky


def _unit(image: Array) -> NDArray[np.float16]:
    clean = np.nan_to_num(image)
    return (clean / max(float(np.abs(clean).max()), 1e-30)).astype(np.float16)


def read_sources(
    files: Sequence[Path], names: Iterable[str], *, truth: bool = False
) -> dict[str, NDArray[np.float32]]:
    """What the files hold for each source, one after the other.

    Parameters
    ----------
    files : sequence of pathlib.Path
    names : iterable of str
        Arrays with one row a source.
    truth : bool
        Columns `TRUTH` of the truth tables beside the files, too.

    Returns
    -------
    dict of arrays
        ``[source, ...]``, with ``rms``, the median noise of the source's cube [Jy/beam].

    Raises
    ------
    InputError
        For a damaged file, a table that does not fit, or no source at all.
    """
    names = tuple(names)
    parts: dict[str, list[Array]] = {n: [] for n in (*names, "rms", *(TRUTH if truth else ()))}
    for file in files:
        *arrays, sigma = _load(file, (*names, "sigma"))
        n = len(arrays[0])
        for name, array in zip(names, arrays, strict=True):
            parts[name].append(array)
        parts["rms"].append(np.full(n, np.median(sigma), dtype=np.float32))
        for name, column in _truth(file, n).items() if truth and n else ():
            parts[name].append(column)
    if not sum(len(rms) for rms in parts["rms"]):
        raise InputError("holds no source", "simulate more cubes", files[0].parent)
    try:
        return {k: np.concatenate([p for p in v if len(p)]) for k, v in parts.items()}
    except ValueError as error:
        raise InputError("its arrays differ in size", "simulate one kind of cube", files[0].parent) from error


def _load(file: Path, names: tuple[str, ...]) -> list[Array]:
    try:
        with np.load(file) as data:
            return [data[n] for n in names]
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise InputError("damaged, or lacks what is needed", "simulate again", file) from error


def _truth(file: Path, n: int) -> dict[str, Array]:
    """`TRUTH` of a cube; its table is read as text, since thousands of them are."""
    table = file.with_name(file.name.replace("_compact.npz", "_truth.ecsv"))
    try:
        text = table.read_text(encoding="utf-8")
        columns, *rows = csv.reader(line for line in text.splitlines() if line[:1] != "#")
        at = {name: columns.index(name) for name in TRUTH}
        out = {name: np.array([float(r[i]) for r in rows], dtype=np.float32) for name, i in at.items()}
    except (OSError, ValueError, IndexError) as error:
        raise InputError("is no truth table of a simulation", "simulate again", table) from error
    if len(rows) != n:
        raise InputError("does not fit the arrays beside it", "simulate again", table)
    return out

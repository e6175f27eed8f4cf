"""Fields whose true sky is known, read from folders that ``faintsky simulate lofar`` wrote."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from faintsky.errors import InputError
from faintsky.evaluation.cubes import beside, numbered
from faintsky.evaluation.fields import REACH, Array32, Field
from faintsky.image import RadioImage
from faintsky.io import open_image
from faintsky.preparing import robust_sigma, surface_brightness
from faintsky.simulating import UNIT_BEAM, at_resolution, read_compact

STORED = ("noise", "dirty", "clean")
COMMAND = "faintsky simulate lofar"
NOMINAL = 1e-4
"""Noise [Jy/beam] that S/N is told in where images have none."""


@dataclass(frozen=True)
class FolderFields:
    """Fields of a folder of FITS files, or of compact ones.

    The noise of dirty and clean images is taken to be correlated like the psf, which holds for natural
    weighting only.

    Parameters
    ----------
    folder : str
        With ``NNNN_sky.fits``, the images, psf and primary beam, or with ``NNNN_compact.npz``.
    kind : str
        One of `STORED`, or ``sky``.
    indices : tuple of int
        Numbers of the fields.
    label : str, optional
        Of the data, for the set's name; the field of the web that its record names, or the folder's name.
    """

    folder: str
    kind: str
    indices: tuple[int, ...]
    label: str = ""

    @property
    def name(self) -> str:
        """Label and kind."""
        return f"{self.label or Path(self.folder).resolve().name} {self.kind}"

    @cached_property
    def _rms(self) -> float:
        """What the record says of the dirty images' noise; 0 where it says nothing."""
        given = _parameters(Path(self.folder))
        return float(given.get("rms", 0.0)) if given.get("noise") else 0.0

    def load(self, index: int, empty: bool = False) -> Field | None:
        """One field; there are none without emission."""
        if empty:
            return None
        kept = self._read(index)
        image: RadioImage = kept["image"]
        sky: Array32 = kept["sky"]
        cell = image.grid.cell
        if self.kind in ("sky", "noise"):
            rms = kept["rms"] or _measured(image.data, sky, white=True)
            return Field(image, sky, rms, None, 6.0 / cell, self.kind, sky)
        beam = image.require_beam()[0]
        sharp = sky if image.pb is None else sky * np.nan_to_num(image.pb[0])
        truth = np.maximum(at_resolution(sharp * cell**2, beam, cell), 0).astype(np.float32)
        rms = kept["rms"] or _measured(image.data, truth, white=False)
        correlation, psf = None, kept["psf"]
        if psf is not None:
            y, x = (n // 2 for n in psf.shape)
            half = min(y, x, REACH + 1) - 1
            correlation = psf[y - half : y + half + 1, x - half : x + half + 1].astype(np.float64)
        width = float(np.sqrt(beam[0] * beam[1])) / cell
        return Field(image, truth, rms, correlation, width, self.kind, sharp, kept.get("clean"))

    def _read(self, index: int) -> dict[str, Any]:
        """``image``, ``sky``, ``rms`` (0 where unknown), and of those with a beam ``psf`` and ``clean``."""
        stem = Path(self.folder) / f"{index:04d}"
        if not Path(f"{stem}_sky.fits").is_file():
            return self._compact(index)
        true = open_image(f"{stem}_sky.fits")
        sky = true.data * np.float32(surface_brightness(true))
        if self.kind == "sky":
            image = RadioImage.from_array(sky, cell=true.grid.cell, unit="Jy/arcsec2")
            return {"image": image, "sky": sky, "rms": self._rms / UNIT_BEAM}
        psf, pb = (beside(self.folder, index, kind) for kind in ("psf", "pb"))
        own = {"psf": psf} if self.kind == "dirty" else {}
        beamless = self.kind == "noise"
        beside_it: dict[str, Any] = {} if beamless else {**own, "pb": pb}
        image = open_image(f"{stem}_{self.kind}.fits", **beside_it)
        rms = float(image.header.get("NOISE", 0.0 if beamless else self._rms))
        out: dict[str, Any] = {"image": image, "sky": sky, "rms": rms, "psf": None}
        if not beamless and psf is not None:
            out["psf"] = open_image(psf).data
        if self.kind == "dirty" and Path(f"{stem}_clean.fits").is_file():
            out["clean"] = open_image(f"{stem}_clean.fits").data
        return out

    def _compact(self, index: int) -> dict[str, Any]:
        kept = read_compact(Path(self.folder) / f"{index:04d}_compact.npz")
        # of the psf it holds the middle
        if (psf := beside(self.folder, index, "psf")) is not None:
            kept["psf"] = open_image(psf).data
        out = {"sky": kept["sky"], "rms": kept["sigma"], "psf": kept["psf"]}
        if self.kind in ("sky", "noise"):
            image = RadioImage.from_array(kept[self.kind], cell=kept["cell"], unit="Jy/arcsec2")
            return out | {"image": image}
        own = {"psf": kept["psf"]} if self.kind == "dirty" else {}
        image = RadioImage.from_array(
            kept[self.kind], cell=kept["cell"], unit="Jy/beam", beam=kept["beam"], pb=kept["pb"], **own
        )
        clean = kept.get("clean") if self.kind == "dirty" else None
        return out | {"image": image, "rms": kept["rms"], "clean": clean}


def _measured(image: Array32, truth: Array32, white: bool) -> float:
    """The noise of an image whose record does not tell it; the nominal one where there is none."""
    return robust_sigma(image - truth) or NOMINAL / (UNIT_BEAM if white else 1.0)


def _parameters(folder: Path) -> dict[str, Any]:
    """Of a data set; nothing where it has no record."""
    try:
        found = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))["parameters"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}


def open_fields(
    folders: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    n: int | None = None,
    kinds: Sequence[str] = STORED,
) -> list[FolderFields]:
    """The first ``n`` fields, or all, of folders of ``faintsky simulate lofar``, by kind.

    Raises
    ------
    InputError
        There is no such folder, it holds no field with its sky, fewer than ``n``, or images that are
        corrected for the primary beam, so that their noise varies.
    """
    if isinstance(folders, str | os.PathLike):
        folders = [folders]
    known = [_parameters(Path(f)) for f in folders]
    fields = [str(p.get("field") or "") for p in known]
    sets = []
    for folder, record, field in zip(map(Path, folders), known, fields, strict=True):
        if record.get("pbcor"):
            raise InputError("its images are corrected for the primary beam", "give others", folder)
        # two folders of one field keep their own names
        label = field if fields.count(field) == 1 else ""
        compact = numbered(folder, "compact.npz", "truth.ecsv", COMMAND)
        found = []
        for kind in kinds:
            indices = numbered(folder, f"{kind}.fits", "sky.fits", COMMAND)
            if not indices and compact and _has(folder / f"{compact[0]:04d}_compact.npz", kind):
                indices = compact
            if indices:
                found.append(FolderFields(str(folder), kind, tuple(indices[:n]), label))
        if not found:
            raise InputError(
                f"has no NNNN_{'.fits, NNNN_'.join(kinds)}.fits with its NNNN_sky.fits, and no compact files",
                f"give the --out of {COMMAND}", folder,
            )  # fmt: skip
        fewest = min(len(s.indices) for s in found)
        if n is not None and fewest < n:
            raise InputError(f"holds {fewest} fields, not {n}", f"ask for -n {fewest} or fewer", folder)
        sets += found
    return sets


def _has(path: Path, kind: str) -> bool:
    return kind in ("sky", "noise") or kind in np.load(path).files

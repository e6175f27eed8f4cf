"""Maps of an image or cube in files, written and read in parts by several processes at a time."""

import json
import os
import pickle
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faintsky.companions import Box
from faintsky.image import RadioData
from faintsky.io.boxes import read_box, runs, write_box
from faintsky.io.job import plain
from faintsky.io.writing import add_beams, append_beams, begin_fits, header_like
from faintsky.system import replacing

INTEGERS = ("mask", "mask_diffuse", "pieces", "parts")
"""Maps of whole numbers."""
RUN = "run.json"
RESULTS = ("mask", "mask_diffuse", "model", "residual", "denoised", "uncertainty", "probability")
"""Maps that are results, and so FITS files; the others are deleted at the end."""
KINDS = ("uncertainty", "probability")
"""Those that hold no brightness; a probability has no unit either."""


class FitsMaps:
    """As `faintsky.blocks.Maps`, in the files of a folder.

    Rows are written one by one, so that several machines can write into one file. With memory maps on a
    network file system they would overwrite each other's work.

    Parameters
    ----------
    folder : pathlib.Path
        Folder of the files; those of other runs are deleted.
    like : RadioData
        The image or cube; results have its axes and coordinates.
    provenance : mapping
        Entries for the headers.
    run : mapping, optional
        Record of the run: the finished tiles of the same run are kept.
    fresh : bool, optional
        Whether to delete them all the same.
    """

    shared = True

    def __init__(
        self,
        folder: Path,
        like: RadioData,
        provenance: Mapping[str, Any],
        run: Mapping[str, Any] | None = None,
        *,
        fresh: bool = False,
    ) -> None:
        self.folder, self.layout = folder, like.layout
        self.sizes = dict(zip(("chan", "y", "x"), like.shape))
        self.beams = like.beams
        known = json.dumps(plain(run or {}), sort_keys=True)
        noted = folder / RUN
        if fresh or not noted.is_file() or noted.read_text(encoding="utf-8") != known:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            noted.write_text(known, encoding="utf-8")
        self.native = tuple(self.sizes.get(axis, 1) for axis in self.layout.axes)
        self._first = dict.fromkeys(RESULTS, -1)
        self._headers = {}
        for name in RESULTS:
            what: dict[str, Any] = {
                "kind": name if name in KINDS else "",
                "unit": "" if name == "probability" else None,
            }
            header = header_like(like, self.native, labels=name in INTEGERS, provenance=provenance, **what)
            if like.beams is not None and name not in INTEGERS:
                add_beams(header, like.beams)
            self._headers[name] = header

    @property
    def names(self) -> set[str]:
        """Names of the maps written so far."""
        return {p.stem for p in self.folder.iterdir() if p == self.path(p.stem)}

    @staticmethod
    def _kind(name: str) -> np.dtype[Any]:
        return np.dtype((">" if name in RESULTS else "=") + ("i4" if name in INTEGERS else "f4"))

    def path(self, name: str) -> Path:
        """Path of a map's file."""
        return self.folder / (f"{name}.fits" if name in RESULTS else f"{name}.scratch")

    def begin(self, *names: str) -> None:
        """Create the files of results; see `faintsky.blocks.Maps.begin`."""
        for name in names:
            self._first[name] = begin_fits(
                self.path(name), self.native, self._kind(name), self._headers[name]
            )

    def known(self, number: int) -> Any:
        """What `note` stored for a tile; None if nothing."""
        path = self.folder / f"tile{number}.pickle"
        return pickle.loads(path.read_bytes()) if path.exists() else None

    def note(self, number: int, seen: Any) -> None:
        """Store what was found in a tile, after writing its maps: a stopped run need not repeat it."""
        with replacing(self.folder / f"tile{number}.pickle") as name:
            name.write_bytes(pickle.dumps(seen))

    def write(self, name: str, box: Box, values: NDArray[Any]) -> None:
        """Write a box of a map. See `faintsky.blocks.Maps.write`."""
        native = self.layout.to_native(values).astype(self._kind(name), order="C")
        file = os.open(self.path(name), os.O_RDWR | os.O_CREAT, 0o666)
        try:
            write_box(file, self._first.get(name, 0), self.native, self.layout.native_part(box), native)
        finally:
            os.close(file)

    def read(self, name: str, box: Box) -> NDArray[Any]:
        """A box of a map, 0 where nothing was written."""
        part, kind = self.layout.native_part(box), self._kind(name)
        if self.path(name).exists():
            with self.path(name).open("rb") as file:
                begin = self._first.get(name, 0)
                out = read_box(file.fileno(), begin, self.native, kind, part, short=True)
        else:
            out = np.zeros(runs(self.native, part)[2], kind)
        whole = self.layout.to_standard(out)
        return np.array(whole if len(box) == 3 else whole[0], out.dtype.newbyteorder("="))

    def finish(self, folder: Path) -> dict[str, NDArray[Any]]:
        """Move the results to their folder, and delete the rest; the arrays returned are read when used."""
        arrays = {}
        for name in RESULTS:
            if self.path(name).exists():
                if self.beams is not None and name not in INTEGERS:
                    append_beams(self.path(name), self.beams)
                arrays[name] = self.whole(name)
                os.replace(self.path(name), folder / self.path(name).name)
        self.drop()
        return arrays

    def drop(self) -> None:
        """Delete the folder; if that is interrupted, the rest is not mistaken for a run's."""
        (self.folder / RUN).unlink()
        shutil.rmtree(self.folder)

    def whole(self, name: str) -> NDArray[Any]:
        """All of a map, ``[y, x]`` or ``[chan, y, x]``; memory-mapped, even after the file is deleted."""
        there = np.memmap(
            self.path(name), self._kind(name), "r", max(self._first.get(name, 0), 0), self.native
        )
        cube = self.layout.to_standard(there)
        return np.asarray(cube if self.sizes["chan"] > 1 else cube[0])

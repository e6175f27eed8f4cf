"""Maps of an image or cube in memory, written and read in parts; `faintsky.io.FitsMaps` is for files."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Box = tuple[slice, ...]


class Maps:
    """Arrays ``[y, x]`` or ``[chan, y, x]`` by name, 0 where nothing was written.

    Parameters
    ----------
    shape : tuple of int
        Shape of all maps.

    Attributes
    ----------
    shared : bool
        Whether other processes can read what is written.
    """

    shared = False

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape, self._arrays = shape, dict[str, NDArray[Any]]()

    @property
    def names(self) -> set[str]:
        """Names of the maps written so far."""
        return set(self._arrays)

    def begin(self, *names: str) -> None:
        """Reserve space for results, before they are written."""

    def known(self, number: int) -> Any:
        """What `note` stored for a tile; in memory always None."""

    def note(self, number: int, seen: Any) -> None:
        """Store what was found in a tile, after writing its maps: a stopped run need not repeat it."""

    def write(self, name: str, box: Box, values: NDArray[Any]) -> None:
        """Write a box of a map.

        Parameters
        ----------
        name : str
            The map.
        box : tuple of slice
            Rows and columns, or channels, rows and columns.
        values : array
            Values of the box; integers become int32, others float32.
        """
        if name not in self._arrays:
            kind = np.int32 if values.dtype.kind in "iub" else np.float32
            self._arrays[name] = np.zeros(self.shape, kind)
        self._arrays[name][box] = values

    def read(self, name: str, box: Box) -> NDArray[Any]:
        """A box of a map; it must not be changed."""
        return self._arrays[name][box]

    def whole(self, name: str) -> NDArray[Any]:
        """All of a map; it must not be changed."""
        return self._arrays[name]

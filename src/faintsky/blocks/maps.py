"""Maps of an image or cube, written and read in parts: in memory; `faintsky.io.FitsMaps` has files."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Box = tuple[slice, ...]


class Maps:
    """Arrays ``[y, x]`` or ``[chan, y, x]`` by their names, 0 where nothing was written.

    Parameters
    ----------
    shape : tuple of int
        Of them all.

    Attributes
    ----------
    shared : bool
        Whether other processes see what is written.
    """

    shared = False

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape, self._arrays = shape, dict[str, NDArray[Any]]()

    @property
    def names(self) -> set[str]:
        """Maps that there are."""
        return set(self._arrays)

    def begin(self, *names: str) -> None:
        """Make room for results, before anything is written into them."""

    def known(self, number: int) -> Any:
        """What was noted of a tile; None where nothing was, or memory is all there is."""

    def note(self, number: int, seen: Any) -> None:
        """Note what a tile has seen, once its maps are written: a run that is stopped need not look again."""

    def write(self, name: str, box: Box, values: NDArray[Any]) -> None:
        """Put a box into a map; integers are int32, all else float32."""
        if name not in self._arrays:
            kind = np.int32 if values.dtype.kind in "iub" else np.float32
            self._arrays[name] = np.zeros(self.shape, kind)
        self._arrays[name][box] = values

    def read(self, name: str, box: Box) -> NDArray[Any]:
        """A box of a map, not to be written into."""
        return self._arrays[name][box]

    def whole(self, name: str) -> NDArray[Any]:
        """All of a map, not to be written into."""
        return self._arrays[name]

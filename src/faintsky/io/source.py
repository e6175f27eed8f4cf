"""What a file, a store or a foreign object gives: a header, a shape, and data when asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Part = Any
"""Which of the data: a tuple of slices, or an ellipsis for all."""


@dataclass(frozen=True)
class Source:
    """Data that have not been read yet.

    Parameters
    ----------
    name : str
        For messages: the path, or the object's type.
    header : astropy.io.fits.Header
        Of the data.
    shape : tuple of int
        In numpy's order.
    read : callable
        Returns the array, or the part of it that is asked for.
    beams : array, ``[row, 5]``, optional
        Of a beams table: major, minor [arcsec], position angle [deg], channel and Stokes plane; NaN where
        the table does not say.
    """

    name: str
    header: Any
    shape: tuple[int, ...]
    read: Callable[[Part], NDArray[Any]]
    beams: NDArray[np.float64] | None = None

    def load(self) -> NDArray[Any]:
        """All data."""
        return self.read(...)

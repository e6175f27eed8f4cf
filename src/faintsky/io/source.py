"""What a file, a store or a foreign object gives: a header, a shape, and data when asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


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
    load : callable
        Returns the array of that shape.
    beams : array, ``[chan, 3]``, optional
        Of a beams table: major, minor [arcsec], position angle [deg].
    """

    name: str
    header: Any
    shape: tuple[int, ...]
    load: Callable[[], NDArray[Any]]
    beams: NDArray[np.float64] | None = None


def as_float32(array: NDArray[Any]) -> NDArray[np.float32]:
    """A copy in native byte order, float32, with NaN for anything that is not a finite number there."""
    # values beyond float32's range become infinite in the cast, and then blank like other infinities
    with np.errstate(over="ignore", invalid="ignore"):
        data = np.array(array, dtype=np.float32)
    data[~np.isfinite(data)] = np.nan
    return data

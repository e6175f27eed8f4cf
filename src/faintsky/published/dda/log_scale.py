"""Brightness to [0, 1] and back, through its logarithm: what the published autoencoder sees.

Gheller & Vazza (2021), Section 4, steps iii and iv: what is below a floor, noise below zero with it, becomes
the floor; the logarithm is brought to [0, 1]. Done with each image's own extremes, as the text has it, that
cannot be undone: those of the true sky are not known from a noisy image. So the range is fixed by default.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from faintsky.errors import InputError

Limits = tuple[float, float]

SCALINGS = ("fixed", "image")
EDGES = np.geomspace(1e-8, 1e-2, 51)
"""Of the flux-density histogram that the discrepancy (eq. A1) is the difference of [Jy/arcsec2]."""
LEAST_MRE = 1e-7
"""Brightness [Jy/arcsec2] from which the relative error counts (eq. 7)."""


@dataclass(frozen=True)
class LogScale:
    """A logarithmic scale.

    Parameters
    ----------
    floor, ceiling : float
        Brightness [Jy/arcsec2] that becomes 0 and, where the range is fixed, 1.
    scaling : {"fixed", "image"}
        Whether the range is the same for all images, or each image's own.

    Raises
    ------
    InputError
        For a range that is none, or another scaling.
    """

    floor: float = 1e-8
    ceiling: float = 1e-2
    scaling: str = "fixed"

    def __post_init__(self) -> None:
        if not 0 < self.floor < self.ceiling:
            raise InputError(
                f"floor={self.floor:g} and ceiling={self.ceiling:g} are no range of brightness",
                "give two positive numbers, the floor below the ceiling",
            )
        if self.scaling not in SCALINGS:
            raise InputError(f"no scaling {self.scaling!r}", f"choose one of {', '.join(SCALINGS)}")

    def limits(self, image: NDArray[np.floating]) -> Limits:
        """Logarithms that become 0 and 1 for an image [Jy/arcsec2]; its blanks (NaN) do not count."""
        fixed = float(np.log10(self.floor)), float(np.log10(self.ceiling))
        if self.scaling == "fixed" or not np.isfinite(image).any():
            return fixed
        low, high = (np.log10(max(float(f(image)), self.floor)) for f in (np.nanmin, np.nanmax))
        return (float(low), float(high)) if high > low else fixed

    def encode(self, image: NDArray[np.floating], limits: Limits) -> NDArray[np.float32]:
        """An image [Jy/arcsec2], its blanks as the floor, to [0, 1]."""
        logs = np.log10(np.maximum(np.nan_to_num(image, nan=0.0), self.floor))
        return np.clip((logs - limits[0]) / (limits[1] - limits[0]), 0, 1).astype(np.float32)


def decode(values: NDArray[np.floating], limits: NDArray[np.floating] | Limits) -> NDArray[np.float32]:
    """[0, 1] back to brightness [Jy/arcsec2].

    Parameters
    ----------
    values : array
        ``[…, y, x]``
    limits : tuple of float, or array
        Of `LogScale.limits`; an array ``[…, 2]`` has a pair for each image.
    """
    low, high = (np.asarray(part)[..., None, None] for part in np.moveaxis(np.asarray(limits), -1, 0))
    return np.asarray(10.0 ** (low + values * (high - low)), dtype=np.float32)

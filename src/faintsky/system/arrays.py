"""Arrays as users and files give them: masked, with units, of any type and byte order."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from faintsky.errors import InputError


def as_float32(array: Any) -> NDArray[np.float32]:
    """A copy in native byte order, float32, with NaN where it is masked or not a finite number there.

    Parameters
    ----------
    array : array-like
        Of any shape; the masks of `numpy.ma` and of `astropy.utils.masked` are heeded, units are not.
    """
    # values beyond float32's range become infinite in the cast, and then blank like other infinities
    with np.errstate(over="ignore", invalid="ignore"):
        data = np.array(getattr(array, "unmasked", array), dtype=np.float32)
    data[~np.isfinite(data)] = np.nan
    mask = getattr(array, "mask", None)
    if mask is not None and np.any(mask):
        data[np.broadcast_to(mask, data.shape)] = np.nan
    return data


def in_unit(value: Any, unit: Any, what: str, name: str) -> Any:
    """A value of a `~astropy.units.Quantity` in ``unit``; anything without a unit as it is.

    Raises
    ------
    InputError
        Where the units are of different kinds.
    """
    from astropy import units as u

    if not hasattr(value, "to_value"):
        return value
    try:
        return value.to(unit).value
    except u.UnitConversionError as error:
        raise InputError(f"its {what} is in {value.unit}", f"give it in {unit}", name) from error

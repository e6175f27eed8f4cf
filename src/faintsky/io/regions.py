"""Sources as DS9 regions: an ellipse each, of the size observed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from faintsky.catalog import has_flag
from faintsky.system import replacing

if TYPE_CHECKING:
    from astropy.table import Table

LEAST = 1.0
"""Size of a source of no size [arcsec]."""


def write_regions(path: str | os.PathLike[str], table: Table) -> Path:
    """Write a catalogue as DS9 regions in ICRS, emission in green and absorption in red, labelled by ``id``.

    Parameters
    ----------
    path : path-like
        A ``.reg`` file, written in one step.
    table : astropy.table.Table
        As `faintsky.catalog.make_table` gives it. The ellipses are ``fwhm_maj``, ``fwhm_min`` and ``pa``, or
        where these are not known ``dc_maj``, ``dc_min`` and ``dc_pa``, 1 arcsec at least. Rows without a
        place on the sky are ellipses in pixels, about their boxes; those without any place are left out.

    Returns
    -------
    pathlib.Path
    """
    from astropy import units as u
    from astropy.coordinates import SkyCoord
    from regions import EllipsePixelRegion, EllipseSkyRegion, PixCoord, Regions

    def column(name: str) -> NDArray[np.float64]:
        return np.asarray(table[name], dtype=float)

    seen = np.isfinite(column("fwhm_maj"))
    sizes = (("fwhm_maj", "dc_maj"), ("fwhm_min", "dc_min"), ("pa", "dc_pa"))
    major, minor, pa = (np.where(seen, column(one), np.nan_to_num(column(other))) for one, other in sizes)
    places = SkyCoord(np.nan_to_num(column("ra")), np.nan_to_num(column("dec")), unit="deg")
    made = []
    for i, (ra, dec, x, y) in enumerate(zip(*(column(name) for name in ("ra", "dec", "x", "y")))):
        look = {"color": "red" if has_flag(table["flags"][i], "absorption") else "green"}
        meta = {"text": str(table["id"][i])}
        if np.isfinite([ra, dec]).all():
            # an ellipse's angle is that of its width, from the west: of its height then from the north
            width, height = (max(float(v[i]), LEAST) * u.arcsec for v in (minor, major))
            made.append(EllipseSkyRegion(places[i], width, height, pa[i] * u.deg, meta, look))
        elif np.isfinite([x, y]).all():
            sides = (max(float(table[f"{k}_max"][i] - table[f"{k}_min"][i] + 1), 1.0) for k in "xy")
            made.append(EllipsePixelRegion(PixCoord(x, y), *sides, 0 * u.deg, meta, look))
    final = Path(path)
    with replacing(final) as name:
        Regions(made).write(name, format="ds9", overwrite=True)
    return final

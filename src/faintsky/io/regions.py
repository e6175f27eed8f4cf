"""Sources as DS9 regions: one ellipse each, of the size observed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from faintsky.beams import convolved
from faintsky.catalog import has_flag
from faintsky.system import replacing

if TYPE_CHECKING:
    from astropy.table import Table

_HEAD = """# Region file format: DS9
global color=green width=1 font="helvetica 10 normal roman"
icrs
"""


def write_regions(path: str | os.PathLike[str], table: Table, beam: ArrayLike | None = None) -> Path:
    """Write a source table as DS9 regions in ICRS, emission in green and absorption in red.

    Parameters
    ----------
    path : path-like
        A ``.reg`` file, written in one step.
    table : astropy.table.Table
        As `faintsky.catalog.make_table` gives it; rows without a position are left out.
    beam : array, optional
        ``[3]``, or one for each source ``[n, 3]``: major and minor [arcsec], position angle [deg]. With it
        the ellipses have the observed full widths at half maximum, otherwise the intrinsic ones, 1 arcsec at
        least.

    Returns
    -------
    pathlib.Path
    """
    maj, minor, pa = (np.nan_to_num(np.asarray(table[c], float)) for c in ("dc_maj", "dc_min", "dc_pa"))
    if beam is None:
        maj, minor = np.maximum(maj, 1.0), np.maximum(minor, 1.0)
    else:
        maj, minor, pa = convolved(maj, minor, pa, beam)
    red = has_flag(table["flags"], "absorption")
    lines = []
    for i, row in enumerate(table):
        if not np.isfinite([row["ra"], row["dec"]]).all():
            continue
        # DS9 measures an ellipse's angle from its first radius, along x: the minor axis at position angle 0
        radii = f'{minor[i] / 2:.4f}",{maj[i] / 2:.4f}"'
        place = f"{row['ra']:.8f},{row['dec']:.8f},{radii},{pa[i]:.3f}"
        colour = " color=red" if red[i] else ""
        lines.append(f"ellipse({place}) #{colour} text={{{row['id']}}}\n")
    final = Path(path)
    with replacing(final) as name:
        name.write_text(_HEAD + "".join(lines), encoding="ascii")
    return final

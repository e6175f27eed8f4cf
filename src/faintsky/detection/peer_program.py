"""What runs inside the interpreter that has PyBDSF or Aegean: an image in, a list of Gaussians out.

    python peer_program.py pybdsf|aegean IMAGE.fits OUT.json SETTINGS.json

Needs nothing of faintsky, so that the programs can live in an environment of their own. Positions and fitted
(not deconvolved) shapes are in degrees, position angles east of north.
"""

from __future__ import annotations

import json
import sys
from typing import Any

KEYS = ("ra", "dec", "maj", "min", "pa", "peak", "total", "rms")


def _pybdsf(image: str, settings: dict[str, Any]) -> list[list[float]]:
    import bdsf
    import numpy

    # its import makes errors of divisions by zero, and some sources have none but such to offer
    numpy.seterr(divide="ignore")
    try:
        found = bdsf.process_image(image, quiet=True, ncores=1, outdir=None, **settings)
    except RuntimeError as error:
        # PyBDSF's way to say that there is no pixel above the threshold
        if "No islands" in str(error):
            return []
        raise
    return [
        [*s.posn_sky_centroid, *s.size_sky, s.peak_flux_max, s.total_flux, s.rms_isl]
        for s in getattr(found, "sources", [])
    ]


def _aegean(image: str, settings: dict[str, Any]) -> list[list[float]]:
    import numpy.linalg
    from AegeanTools.source_finder import SourceFinder

    # where a fit is singular Aegean looks for the error under a name that NumPy 2 has dropped
    if not hasattr(numpy.linalg, "linalg"):
        numpy.linalg.linalg = numpy.linalg  # type: ignore[attr-defined]
    found = SourceFinder().find_sources_in_image(image, cores=1, **settings)
    return [
        [s.ra, s.dec, s.a / 3600, s.b / 3600, s.pa, s.peak_flux, s.int_flux, s.local_rms] for s in found or []
    ]


def _main(name: str, image: str, out: str, settings: str) -> None:
    with open(settings, encoding="utf-8") as file:
        given = json.load(file)
    rows = {"pybdsf": _pybdsf, "aegean": _aegean}[name](image, given)
    with open(out, "w", encoding="utf-8") as file:
        json.dump([dict(zip(KEYS, map(float, row))) for row in rows], file)


if __name__ == "__main__":
    _main(*sys.argv[1:])

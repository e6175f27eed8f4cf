"""What runs inside the interpreter that has PyBDSF or Aegean: an image in, Gaussians or islands out.

    python peer_program.py pybdsf|aegean IMAGE.fits OUT.json SETTINGS.json
    python peer_program.py pybdsf-islands|aegean-islands IMAGE.fits OUT SETTINGS.json

Needs nothing of faintsky, so that the programs can live in an environment of their own. Positions and fitted
(not deconvolved) shapes are in degrees, position angles east of north.
"""

from __future__ import annotations

import json
import sys
from typing import Any

KEYS = ("ra", "dec", "maj", "min", "pa", "peak", "total", "rms")


def _process(image: str, settings: dict[str, Any]) -> Any:
    """PyBDSF's result, None where no pixel is above the threshold."""
    import bdsf
    import numpy

    # its import makes errors of divisions by zero, and some sources have none but such to offer
    numpy.seterr(divide="ignore")
    try:
        return bdsf.process_image(image, quiet=True, ncores=1, outdir=None, **settings)
    except RuntimeError as error:
        if "No islands" in str(error):
            return None
        raise


def _pybdsf(image: str, settings: dict[str, Any]) -> list[list[float]]:
    return [
        [*s.posn_sky_centroid, *s.size_sky, s.peak_flux_max, s.total_flux, s.rms_isl]
        for s in getattr(_process(image, settings), "sources", [])
    ]


def _pybdsf_islands(image: str, settings: dict[str, Any]) -> Any:
    """Labels ``[y, x]``, 0 outside; PyBDSF has x first, and counts its islands from 0.

    Gaussians need not be fitted to islands, unless those on the wavelets' scales are wanted as well.
    """
    found = _process(image, settings if settings.get("atrous_do") else {**settings, "stop_at": "isl"})
    return found.pyrank.T + 1 if getattr(found, "islands", None) else None


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


def _aegean_islands(image: str, settings: dict[str, Any]) -> Any:
    """Labels ``[y, x]``, 0 outside, of its islands of positive pixels."""
    import numpy
    from AegeanTools.source_finder import SourceFinder, find_islands

    finder = SourceFinder()
    finder.load_globals(image, cores=1, **{k: v for k, v in settings.items() if not k.endswith("clip")})
    labels = numpy.zeros(finder.img.shape, numpy.int32)
    clips = {"seed_clip": settings["innerclip"], "flood_clip": settings["outerclip"]}
    for island in find_islands(finder.img, numpy.zeros_like(finder.img), finder.rmsimg, **clips):
        (y0, y1), (x0, x1) = island.bounding_box
        inside = ~island.mask
        if (finder.img[y0:y1, x0:x1][inside] > 0).all():
            labels[y0:y1, x0:x1][inside] = labels.max() + 1
    return labels


def _main(name: str, image: str, out: str, settings: str) -> None:
    with open(settings, encoding="utf-8") as text:
        given = json.load(text)
    if name.endswith("-islands"):
        import numpy
        from astropy.io import fits

        labels = {"pybdsf-islands": _pybdsf_islands, "aegean-islands": _aegean_islands}[name](image, given)
        shape = fits.getdata(image).shape[-2:]
        with open(out, "wb") as file:
            numpy.save(file, numpy.zeros(shape, int) if labels is None else labels)
        return
    rows = {"pybdsf": _pybdsf, "aegean": _aegean}[name](image, given)
    with open(out, "w", encoding="utf-8") as text:
        json.dump([dict(zip(KEYS, map(float, row))) for row in rows], text)


if __name__ == "__main__":
    _main(*sys.argv[1:])

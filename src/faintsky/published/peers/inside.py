"""Program for an interpreter that has a source finder: finds Gaussians or islands in an image.

    python inside.py PROGRAM sources|islands IMAGE.fits OUT OPTIONS.json

It does not import faintsky, so that the source finders can have an environment of their own. Positions and
fitted (not deconvolved) shapes are in degrees, position angles east of north. Islands are labels ``[y, x]``,
0 outside, or None.
"""

import json
import sys
from typing import Any

KEYS = ("ra", "dec", "maj", "min", "pa", "peak", "total", "rms")


def aegean_sources(image: str, options: dict[str, Any]) -> list[list[float]]:
    """Run Aegean; one row for each source."""
    import numpy.linalg
    from AegeanTools.source_finder import SourceFinder

    # for a singular fit Aegean uses a name of the error that NumPy 2 has removed
    if not hasattr(numpy.linalg, "linalg"):
        numpy.linalg.linalg = numpy.linalg  # type: ignore[attr-defined]
    found = SourceFinder().find_sources_in_image(image, cores=1, **options)
    return [
        [s.ra, s.dec, s.a / 3600, s.b / 3600, s.pa, s.peak_flux, s.int_flux, s.local_rms] for s in found or []
    ]


def aegean_islands(image: str, options: dict[str, Any]) -> Any:
    """Islands of positive pixels."""
    import numpy
    from AegeanTools.source_finder import SourceFinder, find_islands

    finder = SourceFinder()
    finder.load_globals(image, cores=1, **{k: v for k, v in options.items() if not k.endswith("clip")})
    labels = numpy.zeros(finder.img.shape, numpy.int32)
    clips = {"seed_clip": options["innerclip"], "flood_clip": options["outerclip"]}
    for island in find_islands(finder.img, numpy.zeros_like(finder.img), finder.rmsimg, **clips):
        (y0, y1), (x0, x1) = island.bounding_box
        inside = ~island.mask
        if (finder.img[y0:y1, x0:x1][inside] > 0).all():
            labels[y0:y1, x0:x1][inside] = labels.max() + 1
    return labels


def _pybdsf(image: str, options: dict[str, Any]) -> Any:
    """PyBDSF's result; None if no pixel is above the threshold."""
    import bdsf
    import numpy

    # its import turns divisions by zero into errors, and its own fits divide by zero
    numpy.seterr(divide="ignore")
    try:
        return bdsf.process_image(image, quiet=True, ncores=1, outdir=None, **options)
    except RuntimeError as error:
        if "No islands" in str(error):
            return None
        raise


def pybdsf_sources(image: str, options: dict[str, Any]) -> list[list[float]]:
    """Run PyBDSF; one row for each source."""
    return [
        [*s.posn_sky_centroid, *s.size_sky, s.peak_flux_max, s.total_flux, s.rms_isl]
        for s in getattr(_pybdsf(image, options), "sources", [])
    ]


def pybdsf_islands(image: str, options: dict[str, Any]) -> Any:
    """Islands; PyBDSF has x first, and counts them from 0.

    Gaussians are fitted only if islands of wavelet scales are requested.
    """
    found = _pybdsf(image, options if options.get("atrous_do") else {**options, "stop_at": "isl"})
    return found.pyrank.T + 1 if getattr(found, "islands", None) else None


def _main(program: str, what: str, image: str, out: str, options: str) -> None:
    with open(options, encoding="utf-8") as text:
        found = globals()[f"{program}_{what}"](image, json.load(text))
    if what == "sources":
        with open(out, "w", encoding="utf-8") as text:
            json.dump([dict(zip(KEYS, map(float, row))) for row in found], text)
        return
    import numpy
    from astropy.io import fits

    shape = fits.getdata(image).shape[-2:]
    with open(out, "wb") as file:
        numpy.save(file, numpy.zeros(shape, int) if found is None else found)


if __name__ == "__main__":
    _main(*sys.argv[1:])

"""The catalogue that PyBDSF or Aegean writes, run by the interpreter that has them.

    python peer_catalogue.py pybdsf|aegean IMAGE.fits OUT.fits SEED FREQUENCY

Their own defaults, with islands of 3 sigma; SEED is what a peak must exceed [sigma], FREQUENCY is in Hz.
"""

from __future__ import annotations

import os
import sys


def pybdsf(image: str, out: str, seed: float, frequency: float) -> None:
    """Gaussians."""
    import bdsf
    import numpy
    from astropy.io import fits

    # its import makes errors of divisions by zero, and some sources have none but such to offer
    numpy.seterr(divide="ignore")
    options = {"thresh": "hard", "thresh_pix": seed, "thresh_isl": 3.0, "frequency": frequency}
    options["outdir"] = os.path.dirname(out)  # its log would lie beside the image
    header = fits.getheader(image)  # a header without an angle has no beam for it
    options["beam"] = (header["BMAJ"], header["BMIN"], header.get("BPA", 0.0))
    try:
        found = bdsf.process_image(image, quiet=True, ncores=1, **options)
    except RuntimeError as error:
        if "No islands" not in str(error):
            raise
        return
    found.write_catalog(outfile=out, format="fits", catalog_type="gaul", clobber=True)


def aegean(image: str, out: str, seed: float, _: float) -> None:
    """Components, in double precision."""
    import numpy.linalg
    from AegeanTools.models import ComponentSource
    from AegeanTools.source_finder import SourceFinder
    from astropy.table import Table

    # where a fit is singular Aegean looks for the error under a name that NumPy 2 has dropped
    if not hasattr(numpy.linalg, "linalg"):
        numpy.linalg.linalg = numpy.linalg  # type: ignore[attr-defined]
    found = SourceFinder().find_sources_in_image(image, cores=1, innerclip=seed, outerclip=3.0, cube_index=0)
    if found:
        rows = [s.as_list() for s in found]
        Table(rows=rows, names=ComponentSource.names).write(out, overwrite=True)


if __name__ == "__main__":
    peer, image, out, *numbers = sys.argv[1:]
    {"pybdsf": pybdsf, "aegean": aegean}[peer](image, out, *map(float, numbers))

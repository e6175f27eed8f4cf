"""Program for an interpreter that has a source finder: finds Gaussians or islands in an image.

    python inside.py PROGRAM.py sources|islands IMAGE.fits OUT OPTIONS.json

It does not import faintsky, so that the source finders can have an environment of their own. Positions and
fitted (not deconvolved) shapes are in degrees, position angles east of north.
"""

from __future__ import annotations

import json
import runpy
import sys

KEYS = ("ra", "dec", "maj", "min", "pa", "peak", "total", "rms")


def _main(program: str, what: str, image: str, out: str, options: str) -> None:
    with open(options, encoding="utf-8") as text:
        found = runpy.run_path(program)[what](image, json.load(text))
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

"""List the line emitters above 10 sigma of a cube: python examples/find_lines.py CUBE.fits [PSF.fits]."""

import sys

import faintsky


def main(path: str, psf: str | None = None) -> None:
    result = faintsky.detect(path, psf=psf, reliability=0.9)
    table = result.catalog
    strong = table[table["snr"] > 10]
    print(f"{len(table)} sources, {len(strong)} above 10 sigma")
    strong["id", "ra", "dec", "freq", "velocity", "flux", "flux_err", "snr", "flags"].pprint_all()


if __name__ == "__main__":
    main(*sys.argv[1:])

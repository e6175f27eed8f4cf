"""The back ends ``fast`` and ``wsclean`` side by side: the same fields, dirty and clean, and what each costs.

Differences are between the two images of a field, over the peak of WSClean's (dirty image) or over the
rms asked for (clean image). ``clean_error_rms`` is the rms of clean image minus true sky times primary beam,
which is seen with the same beam. Needs the program ``wsclean`` and the extra ``lofar``. Writes
``benchmarks/results/wsclean_backend.json``::

    python -m benchmarks.lofar_backends
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

import numpy as np
from astropy.io import fits

import faintsky
from benchmarks.speed import cpu_seconds, processor
from faintsky.simulating import SimulationSettings, at_resolution
from faintsky.simulating.wsclean import check_wsclean, wsclean_version
from reproduction import common

FIELDS = {
    "paper": {"preset": "paper"},
    "lotss": {"preset": "lotss"},
    "Dec +31, hour angle -1.5 h, 3 h, gain errors of 5 % and 10 deg": {
        **{"preset": "lotss", "ra": 83.0, "dec": 31.0, "hour_angle": -1.5, "total_time": "3h"},
        **{"gain_rms": 0.05, "phase_rms": 10.0},
    },
    "Dec +78, 130 MHz, Briggs 0.3, from a UTC on, 5 h": {
        **{"preset": "lotss", "ra": 310.0, "dec": 78.0, "freq": "130MHz", "robust": 0.3},
        **{"start": "2022-11-05T12:00:00", "total_time": "5h"},
    },
}


def image(folder, name):
    data, header = fits.getdata(folder / name, header=True)
    return np.asarray(data, dtype=float), header


def compare(size, **settings):
    """Numbers of one field."""
    common = {"size": size, "seed": 4, "products": "sky,dirty,clean,pb", **settings}
    with tempfile.TemporaryDirectory() as name:
        out, cost = Path(name), {}
        for backend in ("fast", "wsclean"):
            began = time.perf_counter(), cpu_seconds()
            faintsky.simulate_lofar(out / backend, backend=backend, **common)
            cost[backend] = {
                "cpu_s": round(cpu_seconds() - began[1], 1),
                "wall_s": round(time.perf_counter() - began[0], 1),
            }
        (dirty, _), (their_dirty, _) = (image(out / b, "0000_dirty.fits") for b in cost)
        cleans = [image(out / b, "0000_clean.fits") for b in cost]
        sky, pb = image(out / "fast", "0000_sky.fits")[0], image(out / "fast", "pb.fits")[0]
    rms = SimulationSettings(telescope="lofar", size=size, **settings).rms
    errors, beams = [], []
    for clean, header in cleans:
        beam = np.array([header["BMAJ"] * 3600, header["BMIN"] * 3600, header["BPA"]])
        true = at_resolution(sky * pb * 4.0, beam, 2.0)
        errors.append(float((clean - true).std() / rms))
        beams.append(beam.round(3).tolist())
    return {
        "dirty_difference": float(f"{np.abs(dirty - their_dirty).max() / np.abs(their_dirty).max():.2g}"),
        "beams": dict(zip(cost, beams, strict=True)),
        "rms_jy_per_beam": rms,
        "clean_error_rms": dict(zip(cost, np.round(errors, 3).tolist(), strict=True)),
        "dirty_error_rms": round(float((their_dirty - true).std() / rms), 3),
        "clean_difference_rms": round(float((cleans[0][0] - cleans[1][0]).std() / rms), 3),
        "cost": cost,
    }


def main():
    parser = common.parser(__doc__)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--out", type=Path, default=common.BENCHMARKS)
    options = parser.parse_args()
    result = {
        "processor": processor(),
        "wsclean": wsclean_version(check_wsclean()),
        "size": options.size,
        "fields": {},
    }
    for name, settings in FIELDS.items():
        result["fields"][name] = compare(options.size, **settings)
        print(name, json.dumps(result["fields"][name]), flush=True)
        common.write("wsclean_backend.json", result, options.out)


if __name__ == "__main__":
    main()

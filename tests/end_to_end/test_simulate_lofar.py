"""The command as a user types it: a LOFAR data set, opened again."""

import json
import subprocess
import sys

import numpy as np

import faintsky
from faintsky.catalog import read_catalog


def test_a_data_set_from_the_command_line(tmp_path):
    command = [
        *(
            sys.executable,
            "-m",
            "faintsky.cli",
            "simulate",
            "lofar",
            "--out",
            str(tmp_path / "set"),
            "-n",
            "2",
        ),
        *("--preset", "lotss", "--size", "128", "--total-time", "2h", "--integration", "10min", "--pbcor"),
        *("--primary-beam", "gaussian", "--jobs", "1", "--json"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    summary = json.loads(done.stdout.splitlines()[-1])
    assert (summary["images"], summary["shape"]) == (2, [128, 128])
    dirty = faintsky.open_image(tmp_path / "set" / "0001_dirty.fits", psf=tmp_path / "set" / "psf.fits")
    assert str(dirty.unit) == "Jy / beam"
    assert np.isfinite(dirty.cube).all()
    np.testing.assert_allclose(dirty.beams[0], summary["beam_arcsec_arcsec_deg"])
    truth = read_catalog(tmp_path / "set" / "0001_truth.ecsv")
    # the brightest region of the truth is where the dirty image is bright
    brightest = truth[np.argmax(truth["snr"])]
    box = dirty.cube[
        0, brightest["y_min"] : brightest["y_max"] + 1, brightest["x_min"] : brightest["x_max"] + 1
    ]
    assert brightest["snr"] > 10
    assert box.max() > 0.5 * brightest["flux_peak"]

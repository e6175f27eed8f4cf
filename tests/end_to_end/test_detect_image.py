"""``faintsky detect`` on images: files, catalogue, report."""

import json
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from outputs import BOTH
from scipy.ndimage import gaussian_filter

import faintsky
from faintsky.catalog import read_catalog
from faintsky.cli import main
from faintsky.image import RadioImage

GRB = Path(__file__).parents[1] / "data" / "lofar_hba_grb201006a.fits.gz"
PLAIN = [(140, 54), (8, 108), (205, 116), (120, 128)]
"""Sources of the LOFAR snapshot that are plain to see [pixel]."""


def test_a_real_snapshot_from_file_to_files(tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["detect", str(GRB), "--out", str(out), "--json", "--columns", "pybdsf"]) == 0
    facts = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {p.name for p in out.iterdir()} == BOTH | {"catalog_pybdsf.fits", "components_pybdsf.fits"}
    table, parts = read_catalog(out / "catalog.fits"), read_catalog(out / "components.fits")
    assert facts["sources"] == len(table)
    theirs = Table.read(out / "catalog_pybdsf.fits")
    np.testing.assert_allclose(theirs["Total_flux"], table["flux"])
    assert set(parts["id"]) == set(table["id"])
    bright = table[table["flux"] > 0]
    for x, y in PLAIN:
        assert np.hypot(bright["x"] - x, bright["y"] - y).min() < 4
    # stripes make few others
    assert len(table) <= 16
    with (
        fits.open(GRB) as raw,
        fits.open(out / "model.fits") as model,
        fits.open(out / "residual.fits") as rest,
    ):
        data = np.squeeze(raw[0].data)
        np.testing.assert_allclose(
            np.squeeze(model[0].data) + np.squeeze(rest[0].data), data, atol=1e-5 * np.nanmax(data)
        )
    labels = np.squeeze(fits.getdata(out / "mask.fits"))
    assert set(np.unique(labels)) <= {0, *table["id"]}
    (doubt,) = [note for note in facts["notes"] if "the residual is not noise" in note]
    page = (out / "report.html").read_text()
    assert page.count(": detection limits and errors are too small") == 1
    assert "detection limits and errors are too small" in doubt
    assert facts["sources"] <= facts["candidates"]
    # the same again is complete already
    assert main(["detect", str(GRB), "--out", str(out), "--json", "--columns", "pybdsf"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["already_complete"]


def test_fluxes_are_corrected_for_the_primary_beam():
    image = faintsky.open_image(GRB)
    plain = faintsky.detect(image)
    half = faintsky.detect(image, pb=np.full(image.data.shape, 0.5, np.float32))
    np.testing.assert_allclose(half.catalog["flux"], 2 * plain.catalog["flux"], rtol=1e-6)
    np.testing.assert_allclose(half.catalog["pb"], 0.5)
    np.testing.assert_allclose(half.catalog["snr"], plain.catalog["snr"])


@pytest.mark.parametrize("factor", [1e-6, 1e-3])
def test_units_change_nothing_else(factor):
    image = faintsky.open_image(GRB)
    header = image.header.copy()
    header["BUNIT"] = {1e-6: "uJy/beam", 1e-3: "mJy/beam"}[factor]
    other = fits.PrimaryHDU((image.data / factor).astype(np.float32), header)
    ours, theirs = faintsky.detect(image).catalog, faintsky.detect(other).catalog
    np.testing.assert_allclose(theirs["flux"], ours["flux"], rtol=1e-3)
    np.testing.assert_allclose(theirs["x"], ours["x"], atol=1e-2)


def test_sources_are_candidates_with_regions_too():
    facts = faintsky.denoise(GRB, report=False).facts
    assert facts["regions"] > 0
    assert facts["regions"] < facts["sources"] <= facts["candidates"]


def test_diffuse_emission_left_in_a_dirty_image_is_for_denoise():
    y, x = np.indices((128, 128)) - 64
    noise = gaussian_filter(np.random.default_rng(1).normal(size=(128, 128)), 1.2)
    data = noise / noise.std() + 25 * np.exp(-(np.hypot(x, y) ** 2) / 2 / 14**2)
    image = {
        k: RadioImage.from_array(data, cell=1.0, beam=(4.0, 4.0, 0.0), kind=k) for k in ("dirty", "restored")
    }
    said = {k: " ".join(faintsky.detect(i).notes) for k, i in image.items()}
    assert "use `faintsky denoise` with --psf" in said["dirty"]
    assert "faintsky denoise" not in said["restored"]
    assert "faintsky denoise" not in " ".join(faintsky.denoise(image["dirty"]).notes)

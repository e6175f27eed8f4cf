"""Catalogues in the peers' columns, and through the peers' own readers where these are installed."""

import json
import subprocess

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.table import Table
from conftest import skip_without

from faintsky.catalog import make_components, make_table
from faintsky.columns import write_columns
from faintsky.errors import InputError
from faintsky.image import RadioImage
from faintsky.published.peers import interpreter

CELL, BEAM = 1.5, 6.0
FLUX = np.array([2e-3, 5e-3, 1e-3])


@pytest.fixture
def image():
    """Three Gaussians, two of them in touch, in noise."""
    y, x = np.mgrid[:128, :128]
    data = np.random.default_rng(0).normal(0, 1e-5, (128, 128))
    for flux, px, py in zip(FLUX, (30, 80, 88), (40, 90, 90)):
        data += flux * np.exp(-4 * np.log(2) * ((x - px) ** 2 + (y - py) ** 2) * (CELL / BEAM) ** 2)
    beam = (BEAM, BEAM, 0.0)
    return RadioImage.from_array(data, cell=CELL, beam=beam, ra=150.0, dec=-30.0, name="field.fits")


def tables(image):
    """Two objects, the second of two components."""
    x, y = np.array([30.0, 80.0, 88.0]), np.array([40.0, 90.0, 90.0])
    ra, dec = image.sky(x, y)
    shape = {"fwhm_maj": [6.0, 9.0, 9.0], "fwhm_maj_err": 0.3, "fwhm_min": 6.0, "pa": [0.0, 120.0, 120.0]}
    shape |= {"dc_maj": [0.0, 6.7, 6.7], "dc_min": 0.0, "dc_pa": [0.0, 120.0, 120.0]}
    parts = {
        "id": [1, 2, 2], "island": [1, 2, 2], "kind": ["point", "gaussian", "gaussian"], "ra": ra, "dec": dec,
        "ra_err": 0.36, "x": x, "y": y, "x_err": 0.24, "flux": FLUX, "flux_err": 1e-5, "flux_peak": FLUX,
        "rms": 1e-5, "flags": ["unresolved", "", ""], **shape,
    }  # fmt: skip
    first = {k: np.asarray(v)[:2] if np.ndim(v) else v for k, v in parts.items()}
    whole = first | {"n_components": [1, 2], "kind": ["point", "complex"], "flux": [FLUX[0], FLUX[1:].sum()]}
    return make_table(whole, meta={"frequency": 1.4e9}, two_d=True), make_components(parts, two_d=True)


def test_pybdsf_s_names_units_numbers_and_codes(image, tmp_path):
    catalog, components = tables(image)
    sources = Table.read(write_columns(catalog, "pybdsf", tmp_path / "srl.fits", image))
    gaussians = Table.read(write_columns(components, "pybdsf", tmp_path / "gaul.fits", image))
    assert list(sources["Source_id"]) == [0, 1]
    assert list(gaussians["Gaus_id"]) == [0, 1, 2]
    assert list(gaussians["Source_id"]) == [0, 1, 1]
    assert list(sources["S_Code"]) == ["S", "M"]
    assert list(gaussians["S_Code"]) == ["S", "M", "M"]
    np.testing.assert_allclose(sources["Maj"].to(u.arcsec).value, [6, 9])
    np.testing.assert_allclose(sources["E_Maj"].to(u.arcsec).value, 0.3)
    np.testing.assert_allclose(sources["E_RA"].to(u.arcsec).value, 0.36)
    np.testing.assert_allclose(sources["Isl_Total_flux"], [FLUX[0], FLUX[1:].sum()])
    np.testing.assert_allclose(gaussians["Isl_Total_flux"], [FLUX[0], FLUX[1:].sum(), FLUX[1:].sum()])
    # sizes in the image are those on the sky, as pixels are square and north is up here
    np.testing.assert_allclose(gaussians["Maj_img_plane"], gaussians["Maj"], rtol=1e-4)
    np.testing.assert_allclose(gaussians["PA_img_plane"][1:], 120, atol=0.1)
    x, y = image.pixel(gaussians["RA"], gaussians["DEC"])
    np.testing.assert_allclose([x, y], [gaussians["Xposn"], gaussians["Yposn"]], atol=1e-6)
    assert sources["Peak_flux"].unit == u.Jy / u.beam
    assert fits.getheader(tmp_path / "srl.fits", 1)["FREQ0"] == 1.4e9


def test_aegean_s_angles_flags_and_places(image, tmp_path):
    _, components = tables(image)
    found = Table.read(write_columns(components, "aegean", tmp_path / "comp.fits", image))
    assert list(found["island"]) == [1, 2, 2]
    assert list(found["source"]) == [0, 0, 1]
    np.testing.assert_allclose(found["pa"], [0, -60, -60])
    np.testing.assert_allclose(found["err_ra"], 0.36 / 3600)
    np.testing.assert_allclose(found["err_dec"], -1)
    np.testing.assert_allclose(found["psf_a"], BEAM, rtol=1e-4)
    assert list(found["flags"]) == [4, 0, 0]
    hours, minutes, seconds = (float(v) for v in found["ra_str"][0].split(":"))
    assert 15 * (hours + minutes / 60 + seconds / 3600) == pytest.approx(found["ra"][0], abs=1e-4)
    assert found["dec_str"][0].startswith("-30:00:")


def test_an_empty_catalogue_and_an_unknown_style(image, tmp_path):
    none = make_table({"x": []}, two_d=True)
    for style in ("pybdsf", "aegean"):
        assert len(Table.read(write_columns(none, style, tmp_path / f"{style}.fits", image))) == 0
    with pytest.raises(InputError, match="'sextractor' are not known"):
        write_columns(none, "sextractor", tmp_path / "no.fits", image)


def columns_of(path):
    """Name, unit and type of each."""
    with fits.open(path) as hdus:
        return [(c.name, u.Unit((c.unit or "").strip()), c.format[-1]) for c in hdus[1].columns]


def ask(program, code, *arguments):
    """What a piece of code prints, run by the interpreter that has a program."""
    command = [interpreter(program), "-c", code, *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_aegean_reads_them(image, tmp_path):
    skip_without(interpreter, "aegean")
    _, components = tables(image)
    path = write_columns(components, "aegean", tmp_path / "comp.fits", image)
    code = """
import json, sys
from AegeanTools.catalogs import load_table, save_catalog, table_to_source_list
from AegeanTools.models import ComponentSource
sources = table_to_source_list(load_table(sys.argv[1]))
for s in sources:  # its writer knows Python's numbers only
    vars(s).update({k: v.item() if hasattr(v, "item") else v for k, v in vars(s).items()})
save_catalog(sys.argv[2], sources)
print(json.dumps({k: [getattr(s, k) for s in sources] for k in ComponentSource.names}))
"""
    read = json.loads(ask("aegean", code, path, tmp_path / "again.fits").splitlines()[-1])
    ours, again = Table.read(path), Table.read(tmp_path / "again_comp.fits")
    assert list(read) == ours.colnames == again.colnames
    for name in ours.colnames:
        assert ours[name].dtype.kind == again[name].dtype.kind, name
        if ours[name].dtype.kind == "S":
            assert list(ours[name].astype(str)) == read[name], name
        else:
            np.testing.assert_allclose(ours[name], np.array(read[name], dtype=float), err_msg=name)
            np.testing.assert_allclose(again[name], ours[name], rtol=1e-6, err_msg=name)


def test_pybdsf_writes_the_same_columns(image, tmp_path):
    skip_without(interpreter, "pybdsf")
    header = image.header
    header["RESTFRQ"] = 1.4e9
    fits.writeto(tmp_path / "image.fits", image.data, header)
    code = """
import sys, bdsf
found = bdsf.process_image(sys.argv[1], quiet=True, ncores=1, outdir=None, frequency=1.4e9)
for kind in ("srl", "gaul"):
    found.write_catalog(outfile=f"{sys.argv[2]}/theirs_{kind}.fits", format="fits", catalog_type=kind)
"""
    ask("pybdsf", code, tmp_path / "image.fits", tmp_path)
    for kind, table in zip(("srl", "gaul"), tables(image)):
        ours = columns_of(write_columns(table, "pybdsf", tmp_path / f"{kind}.fits", image))
        assert ours == columns_of(tmp_path / f"theirs_{kind}.fits")

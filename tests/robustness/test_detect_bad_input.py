"""``faintsky detect`` on bad files: the right catalogue, or one line, status 2 and nothing left behind."""

import json

import numpy as np
import pytest
from astropy.io import fits

from faintsky import detect
from faintsky.catalog import read_catalog
from faintsky.cli import main


def run(path, tmp_path, capsys, *options):
    """Exit status, what was said on standard error, and the output folder."""
    out = tmp_path / "out"
    status = main(["detect", str(path), "--out", str(out), "--json", "--device", "cpu", *options])
    return status, capsys.readouterr().err, out


def refused(path, tmp_path, capsys, fault, *options):
    before = sorted(tmp_path.rglob("*"))
    status, said, out = run(path, tmp_path, capsys, *options)
    lines = [line for line in said.splitlines() if line.startswith("faintsky: error: ")]
    assert status == 2
    assert len(lines) == 1
    assert fault in lines[0]
    assert str(path) in lines[0]
    assert "; " in lines[0]
    assert not out.exists()
    assert sorted(tmp_path.rglob("*")) == before


def found(path, tmp_path, capsys, *options, x=16.0, y=16.0, z=12.0):
    """The catalogue, checked to hold the one source of the test cube where it is."""
    status, said, out = run(path, tmp_path, capsys, *options)
    assert status == 0, said
    table = read_catalog(out / "catalog.ecsv")
    assert len(table) == 1
    row = table[0]
    assert np.hypot(row["x"] - x, row["y"] - y) < 0.3
    assert abs(row["z"] - z) < 0.3
    np.testing.assert_allclose([row["ra"], row["dec"]], [150.0, -30.0], atol=0.2 / 3600)
    return row, out


@pytest.fixture
def planted(noisy):
    return (noisy() * 1e-3).astype(np.float32)


def test_the_plain_cube(make_fits, tmp_path, capsys):
    row, out = found(make_fits(), tmp_path, capsys)
    assert row["freq"] == pytest.approx(1e11 + 12e7, abs=0.3e7)
    assert row["velocity"] == pytest.approx(299792.458 * (1 - row["freq"] / 1.001e11), abs=1e-3)
    assert json.loads((out / "run.json").read_text())["complete"]
    with fits.open(out / "mask.fits") as hdus:
        assert hdus[0].data.shape == (24, 32, 32)
        assert hdus[0].data[12, 16, 16] == row["id"]


@pytest.mark.parametrize("shape", [(32, 32), (1, 32, 32)])
def test_an_image_without_noise(tmp_path, capsys, header, shape):
    cards = header()
    if len(shape) == 3:
        cards.update({"CTYPE3": "FREQ", "CRVAL3": 1e11, "CDELT3": 1e7, "CRPIX3": 1, "CUNIT3": "Hz"})
    path = tmp_path / "x.fits"
    fits.PrimaryHDU(np.ones(shape), cards).writeto(path)
    refused(path, tmp_path, capsys, "no noise")


def test_an_image_takes_no_model_of_cubes(make_fits, tmp_path, capsys, planted):
    path = make_fits(data=planted[:1])
    refused(path, tmp_path, capsys, "looks for lines in cubes", "--model", "deepfocus")


def test_a_cube_has_no_columns_of_image_finders(make_fits, tmp_path, capsys):
    refused(make_fits(), tmp_path, capsys, "are for images", "--columns", "aegean")


FOR_CUBES = [("--cutouts",), ("--continuum", "fit"), ("--rest-frequency", "1420.405752MHz")]


@pytest.mark.parametrize("options", FOR_CUBES, ids=lambda options: options[0])
def test_an_image_takes_no_options_for_cubes(make_fits, tmp_path, capsys, planted, options):
    path = make_fits(data=planted[:1])
    refused(path, tmp_path, capsys, f"{options[0]} is for cubes, and this is an image", *options)
    config = tmp_path / "c.toml"
    config.write_text(f"{options[0][2:]} = {json.dumps(options[1] if options[1:] else True)}\n")
    refused(path, tmp_path, capsys, f"{options[0]} is for cubes", "--config", str(config))


def test_of_several_files_only_images_take_no_options_for_cubes(make_fits, tmp_path, capsys, planted):
    image, cube = make_fits("image.fits", data=planted[:1]), make_fits("cube.fits")
    status, said, out = run(image, tmp_path, capsys, str(cube), "--continuum", "none")
    assert status == 1
    assert f"1 of 2 files failed: {image}: --continuum is for cubes" in said
    assert (out / "cube" / "catalog.ecsv").exists()


def test_a_plane_along_a_velocity_axis_takes_a_rest_frequency(make_fits):
    velocity = {"CTYPE3": "VRAD", "CRVAL3": 3e5, "CDELT3": 2e3, "CUNIT3": "m/s", "RESTFRQ": None}
    rng = np.random.default_rng(3)
    path = make_fits(data=rng.normal(size=(1, 64, 64)).astype(np.float32), **velocity)
    image = detect(path, rest_frequency="1420.405752MHz", device="cpu").data
    assert image.frequencies[0] == pytest.approx(1420.405752e6, rel=2e-3)


def test_several_stokes_planes(tmp_path, capsys, header, planted):
    path = tmp_path / "x.fits"
    head = header(CTYPE4="STOKES", CRVAL4=1.0, CDELT4=1.0, CRPIX4=1.0)
    fits.PrimaryHDU(np.stack([planted, -planted]), head).writeto(path)
    refused(path, tmp_path, capsys, "--stokes", "--stokes", "V")
    _, out = found(path, tmp_path, capsys)
    assert fits.getheader(out / "mask.fits")["NAXIS4"] == 1
    assert "Stokes I of I, Q" in (out / "report.html").read_text()


@pytest.mark.parametrize("shape", [(4, 8, 8), (24, 6, 6), (3, 32, 32)])
def test_smaller_than_the_filter(make_fits, tmp_path, capsys, shape):
    data = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    refused(make_fits(data=data), tmp_path, capsys, "filter")


NO_BEAM = {"BMAJ": None, "BMIN": None, "BPA": None}


@pytest.mark.parametrize("cards", [NO_BEAM, {"BMAJ": -1.0}], ids=["none", "impossible"])
def test_no_beam_where_the_unit_needs_one(make_fits, tmp_path, capsys, cards):
    refused(make_fits(BUNIT="K", **cards), tmp_path, capsys, "BMAJ")


def test_a_unit_that_is_no_brightness(make_fits, tmp_path, capsys):
    row, _ = found(make_fits(BUNIT="km/s"), tmp_path, capsys)
    assert np.isnan(row["flux"])


def test_integers_with_scale_and_blank(tmp_path, capsys, header, planted):
    path = tmp_path / "x.fits"
    raw = np.round(planted / 1e-6).astype("i2")
    raw[:, :2] = -32768
    hdu = fits.PrimaryHDU(raw, header(BLANK=-32768))
    hdu.header["BSCALE"], hdu.header["BZERO"] = 1e-6, 0.0
    hdu.writeto(path)
    found(path, tmp_path, capsys)


def test_doubles_with_blank_channels_and_borders(make_fits, tmp_path, capsys, planted):
    data = planted.astype(float)
    data[0], data[5], data[23] = 0, np.nan, 2.5
    data[:, :3], data[:, :, -3:] = np.nan, np.nan
    found(make_fits(data=data), tmp_path, capsys)


def test_descending_frequency(make_fits, tmp_path, capsys):
    row, _ = found(make_fits(CDELT3=-1e7), tmp_path, capsys)
    assert row["freq"] == pytest.approx(1e11 - 12e7, abs=0.3e7)


def test_a_velocity_axis(make_fits, tmp_path, capsys):
    row, _ = found(make_fits(CTYPE3="VRAD", CUNIT3="m/s", CRVAL3=3e5, CDELT3=3e4), tmp_path, capsys)
    assert row["velocity"] == pytest.approx(300 + 12 * 30, abs=9)
    assert row["freq"] == pytest.approx(1.001e11 * (1 - row["velocity"] / 299792.458), rel=1e-9)


def test_a_velocity_axis_without_a_rest_frequency(make_fits, tmp_path, capsys):
    """All that does not need one is the same: the flux by dv = c dnu / nu, whatever the scale."""
    axis = {"CTYPE3": "VRAD", "CUNIT3": "m/s", "CRVAL3": 3e5, "CDELT3": 3e4}
    known, _ = found(make_fits("a.fits", **axis), tmp_path / "a", capsys)
    row, _ = found(make_fits("b.fits", **axis, RESTFRQ=None), tmp_path / "b", capsys)
    for name in ("velocity", "flux", "flux_err", "w50", "snr", "x"):
        assert row[name] == pytest.approx(known[name], rel=1e-6), name
    assert np.isnan([row["freq"], row["flux_hz"]]).all()
    assert np.isfinite([known["freq"], known["flux_hz"]]).all()
    assert "no_rest_frequency" in row["flags"]


def test_no_rest_frequency(make_fits, tmp_path, capsys):
    row, _ = found(make_fits(RESTFRQ=None), tmp_path, capsys)
    assert np.isnan(row["velocity"])


def test_four_axes_stay_four(tmp_path, capsys, header, planted):
    path = tmp_path / "x.fits"
    head = header(CTYPE4="STOKES", CRVAL4=1.0, CDELT4=1.0, CRPIX4=1.0)
    fits.PrimaryHDU(planted[None], head).writeto(path)
    _, out = found(path, tmp_path, capsys)
    for name in ("mask.fits", "model.fits"):
        assert fits.getdata(out / name).shape == (1, 24, 32, 32)
        assert fits.getheader(out / name)["CTYPE4"] == "STOKES"


def test_a_beams_table(make_fits, tmp_path, capsys):
    columns = [
        fits.Column("BMAJ", "1E", unit="arcsec", array=np.r_[0.0, np.full(23, 2.0)]),
        fits.Column("BMIN", "1E", unit="arcsec", array=np.r_[0.0, np.full(23, 1.5)]),
        fits.Column("BPA", "1E", unit="deg", array=np.full(24, 30.0)),
    ]
    table = fits.BinTableHDU.from_columns(columns, name="BEAMS")
    found(make_fits(extra=[table], CASAMBM=True, **NO_BEAM), tmp_path, capsys)


@pytest.mark.parametrize("cards", [{"BPA": 390.0}, {"BMAJ": -1.0}, {"BUNIT": None}], ids=str)
def test_odd_beams_and_units_that_do_not_matter(make_fits, tmp_path, capsys, cards):
    found(make_fits(**cards), tmp_path, capsys)


@pytest.mark.parametrize("unit", ["mJy/beam", "K"])
def test_fluxes_are_in_jansky_whatever_the_unit(make_fits, tmp_path, capsys, unit):
    from faintsky import open_cube

    path = make_fits(BUNIT=unit)
    factor = open_cube(path).to_jy_per_beam()[12]
    row, _ = found(path, tmp_path, capsys)
    assert row["flux_peak"] == pytest.approx(0.03 * factor, rel=0.3)


def test_an_existing_folder_is_not_touched(make_fits, tmp_path, capsys):
    path, out = make_fits(), tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("the user's")
    status, said, _ = run(path, tmp_path, capsys)
    assert status == 2
    assert f"{out}: exists and is not empty" in said
    assert [p.name for p in out.iterdir()] == ["mine.txt"]
    status, said, _ = run(path, tmp_path, capsys, "--overwrite")
    assert status == 0, said
    assert (out / "mine.txt").read_text() == "the user's"


def test_another_run_is_not_replaced_without_being_asked(make_fits, tmp_path, capsys):
    path = make_fits()
    found(path, tmp_path, capsys)
    before = (tmp_path / "out" / "catalog.ecsv").read_bytes()
    status, said, out = run(path, tmp_path, capsys, "--reliability", "0.5")
    assert status == 2
    assert "--overwrite" in said
    assert (out / "catalog.ecsv").read_bytes() == before
    assert run(path, tmp_path, capsys)[0] == 0

"""``faintsky denoise`` on bad files: the right images, or one line, status 2 and nothing left behind."""

import json

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from outputs import DENOISED
from scipy.ndimage import binary_dilation

from faintsky.catalog import read_catalog
from faintsky.cli import main
from faintsky.report import histogram

NO_AXIS = {"CTYPE3": None, "CRVAL3": None, "CDELT3": None, "CRPIX3": None, "CUNIT3": None}
NO_BEAM = {"BMAJ": None, "BMIN": None, "BPA": None}


@pytest.fixture
def planted(noisy):
    """One plane ``[48, 48]`` of smooth noise of 1 mJy with a source of 30 at (24, 24)."""
    return (noisy(n_chan=3, n=48)[1] * 1e-3).astype(np.float32)


@pytest.fixture
def make_image(make_fits, planted):
    def write(name="image.fits", data=None, **cards):
        return make_fits(
            name, planted if data is None else data, **{**NO_AXIS, "CRPIX1": 25.0, "CRPIX2": 25.0, **cards}
        )

    return write


@pytest.fixture
def run(tmp_path, capsys, passing):
    """Exit status, what was said on standard error, and the output folder."""

    def command(path, *options):
        out = tmp_path / "out"
        words = [
            "denoise",
            str(path),
            "--out",
            str(out),
            "--model",
            str(passing),
            "--json",
            "--device",
            "cpu",
        ]
        status = main([*words, *options])
        return status, capsys.readouterr().err, out

    return command


@pytest.fixture
def refused(run, tmp_path):
    def check(path, fault, *options):
        before = sorted(tmp_path.rglob("*"))
        status, said, out = run(path, *options)
        lines = [line for line in said.splitlines() if line.startswith("faintsky: error: ")]
        assert status == 2
        assert len(lines) == 1
        assert fault in lines[0]
        assert str(path) in lines[0]
        assert "; " in lines[0]
        assert not out.exists()
        assert sorted(tmp_path.rglob("*")) == before

    return check


@pytest.fixture
def found(run):
    """The one region of the test image, and the folder; the denoised image is the input."""

    def check(path, *options, x=24.0, y=24.0):
        status, said, out = run(path, *options)
        assert status == 0, said
        assert {p.name for p in out.iterdir()} == DENOISED
        table = read_catalog(out / "catalog.ecsv")
        assert len(table) == 1
        row = table[0]
        assert np.hypot(row["x"] - x, row["y"] - y) < 1
        np.testing.assert_allclose([row["ra"], row["dec"]], [150.0, -30.0], atol=1.5 * 0.5 / 3600)
        with fits.open(path) as given, fits.open(out / "denoised.fits") as made:
            data = next(h for h in given if h.is_image and h.data is not None).data.astype(float)
            assert made[0].data.shape == data.shape
            both = np.isfinite(made[0].data) & np.isfinite(data)
            np.testing.assert_allclose(made[0].data[both], data[both], rtol=1e-3, atol=1e-9)
            header = next(h for h in given if h.is_image and h.data is not None).header
            here = [5.0] * data.ndim
            np.testing.assert_allclose(
                WCS(made[0].header).wcs_pix2world([here], 0), WCS(header).wcs_pix2world([here], 0)
            )
        return row, out

    return check


def test_the_plain_image(make_image, found):
    row, out = found(make_image())
    assert json.loads((out / "run.json").read_text())["complete"]
    assert row["flux_peak"] == pytest.approx(0.03, rel=0.15)
    mask = fits.getdata(out / "mask.fits")
    assert mask[24, 24] == 1
    assert mask[5, 5] == 0
    assert fits.getdata(out / "uncertainty.fits")[10, 10] == pytest.approx(1e-3, rel=0.15)


def test_a_cube(make_fits, refused):
    refused(make_fits(), "cube of 24 channels")


@pytest.mark.parametrize("shape", [(1, 1), (7, 100), (3, 3)])
def test_too_few_pixels(make_image, refused, shape):
    data = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    refused(make_image(data=data, BMAJ=1e-5, BMIN=1e-5), "too few")


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ("--kind odd", "--kind"), ("--members 9", "--members"), ("--reliability 2", "--reliability"),
        ("--model classical", "is for 'detect'"),
    ],
)  # fmt: skip
def test_bad_options(make_image, run, words, fault):
    status, said, out = run(make_image(), *words.split())
    assert status == 2
    assert fault in said
    assert not out.exists()


def test_a_model_that_lost_its_weights(make_image, run, passing, tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "model.json").write_bytes((passing / "model.json").read_bytes())
    status, said, out = run(make_image(), "--model", str(tmp_path / "m"))
    assert status == 2
    assert "model.json" in said or "weights" in said
    assert not out.exists()


# ---------------------------------------------------------------------- odd, but understood


def test_borders_and_holes(make_image, found, planted):
    data = planted.copy()
    data[:3], data[:, -9:], data[30:33, 10:14] = np.nan, np.nan, np.nan
    _, out = found(make_image(data=data))
    for name in ("denoised.fits", "uncertainty.fits"):
        np.testing.assert_array_equal(np.isnan(fits.getdata(out / name)), np.isnan(data))
    assert not fits.getdata(out / "mask.fits")[np.isnan(data)].any()


def test_zeros_outside_the_primary_beam_are_blank(make_image, found, planted):
    data = planted.copy()
    y, x = np.indices(data.shape) - 24
    data[np.hypot(y, x) > 20] = 0
    _, out = found(make_image(data=data))
    assert np.isnan(fits.getdata(out / "denoised.fits")[2, 2])
    assert fits.getdata(out / "uncertainty.fits")[24, 10] == pytest.approx(1e-3, rel=0.2)


def test_infinities_are_blank(make_image, found, planted):
    data = planted.copy()
    data[3, 3], data[4, 4] = np.inf, -np.inf
    _, out = found(make_image(data=data))
    assert np.isnan(fits.getdata(out / "denoised.fits")[3, 3])
    assert "2 pixels are infinite, and taken as blank" in (out / "report.html").read_text()


def test_integers_with_scale_and_blank(tmp_path, found, planted, header):
    path = tmp_path / "x.fits"
    raw = np.round(planted / 1e-6).astype("i2")
    raw[:2] = -32768
    hdu = fits.PrimaryHDU(raw, header(BLANK=-32768, **{**NO_AXIS, "CRPIX1": 25.0, "CRPIX2": 25.0}))
    hdu.header["BSCALE"], hdu.header["BZERO"] = 1e-6, 0.0
    hdu.writeto(path)
    found(path)


@pytest.mark.parametrize("dtype", [">f8", "<f8", ">f4"])
def test_doubles_and_byte_orders(make_image, found, planted, dtype):
    found(make_image(data=planted.astype(dtype)))


@pytest.mark.parametrize("axes", [(1,), (1, 1)])
def test_degenerate_axes_are_restored(make_fits, found, planted, axes):
    cards = {"CTYPE4": "STOKES", "CRVAL4": 1.0, "CDELT4": 1.0, "CRPIX4": 1.0} if len(axes) == 2 else {}
    path = make_fits("x.fits", planted.reshape(*axes, 48, 48), CRPIX1=25.0, CRPIX2=25.0, **cards)
    _, out = found(path)
    for name in ("denoised.fits", "uncertainty.fits", "mask.fits"):
        header = fits.getheader(out / name)
        assert header["NAXIS"] == 2 + len(axes)
        assert header["CTYPE3"] == "FREQ"


def test_compressed_files(tmp_path, make_image, found, planted):
    path = make_image("image.fits.gz")
    found(path)


@pytest.mark.parametrize("unit", ["mJy/beam", "K", "Jy/pixel", "Jy/arcsec2", "JY/BEAM", "MJy/sr"])
def test_units_are_kept_and_fluxes_are_in_jansky(make_fits, found, planted, unit):
    from faintsky import open_image

    path = make_fits("x.fits", planted[None], BUNIT=unit, CRPIX1=25.0, CRPIX2=25.0)
    row, out = found(path)
    opened = open_image(path)
    assert open_image(out / "denoised.fits").unit == opened.unit
    factor = opened.to_jy_per_beam()[0]
    assert row["flux_peak"] == pytest.approx(0.03 * factor, rel=0.15)
    # the planted Gaussian: 2.5 pixels of standard deviation, truncated where it falls below the noise
    pixels = 2 * np.pi * 2.5**2 * 0.5 / 1.133 / (4 * 3)
    assert row["flux"] == pytest.approx(0.03 * factor * pixels, rel=0.6)


@pytest.mark.parametrize(
    "cards", [{"BUNIT": None}, {"BUNIT": "furlong"}, {"BPA": 390.0}, {"BPA": None}], ids=str
)
def test_odd_units_and_beams_that_do_not_matter(make_image, found, cards):
    found(make_image(**cards))


@pytest.mark.parametrize(
    "cards", [NO_BEAM, {"BMAJ": -1.0}, {"BMAJ": 0.0, "BMIN": 0.0}], ids=["none", "impossible", "zero"]
)
def test_without_a_beam_the_noise_tells(make_image, found, cards):
    _, out = found(make_image(**cards))
    assert (
        "noise's correlation" in (out / "report.html").read_text()
        or "noise&#39;s correlation" in (out / "report.html").read_text()
    )


def test_white_noise_without_a_beam(make_image, run):
    rng = np.random.default_rng(2)
    data = rng.normal(size=(60, 70)).astype(np.float32)
    data[20:32, 30:44] += 12
    status, said, out = run(make_image(data=data, BUNIT="Jy/arcsec2", **NO_BEAM))
    assert status == 0, said
    table = read_catalog(out / "catalog.ecsv")
    assert len(table) == 1
    assert table["flux"][0] == pytest.approx(12 * 12 * 14 * 0.5**2, rel=0.03)
    assert np.isnan(table["flux_peak"][0])


def test_huge_values(make_image, found, planted):
    found(make_image(data=(planted * 1e32).astype(np.float32)))


def test_tiny_values(make_image, found, planted):
    found(make_image(data=planted.astype(float) * 1e-25))


@pytest.mark.parametrize("shape", [(8, 8), (9, 33), (130, 17)])
def test_smaller_than_a_tile(make_image, run, shape):
    data = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    status, said, out = run(make_image(data=data))
    assert status == 0, said
    assert fits.getdata(out / "denoised.fits").shape == shape


def test_given_noise_is_used(make_image, found, planted):
    rms = make_image("rms.fits", data=np.full(planted.shape, 2e-3, dtype=np.float32))
    _, out = found(make_image(), "--rms", str(rms))
    error, mask = (fits.getdata(out / f"{name}.fits") for name in ("uncertainty", "mask"))
    # a source that is fitted has the errors of its fit
    np.testing.assert_allclose(error[~binary_dilation(mask > 0, iterations=6)], 2e-3, rtol=0.02)


def test_a_mask_limits_the_regions(make_image, run, planted):
    mask = np.ones_like(planted)
    mask[:, :40] = 0
    path = make_image("mask.fits", data=mask)
    status, said, out = run(make_image(), "--mask", str(path))
    assert status == 0, said
    assert len(read_catalog(out / "catalog.ecsv")) == 0
    assert np.isfinite(fits.getdata(out / "denoised.fits")).all()


def test_fluxes_are_corrected_for_the_primary_beam(make_image, found, planted):
    pb = make_image("pb.fits", data=np.full(planted.shape, 0.5, dtype=np.float32))
    row, _ = found(make_image(), "--pb", str(pb))
    assert row["flux_peak"] == pytest.approx(0.06, rel=0.15)
    assert row["pb"] == pytest.approx(0.5)


def test_a_residual_in_no_bin_of_the_histogram_makes_no_warning():
    """What holds no noise may lie hundreds of what is taken for its noise away from the denoised image."""
    far, everywhere = np.full((10, 10), 50.0), np.ones((10, 10), dtype=bool)
    _, ((_, _, density),) = histogram(far, everywhere, ~everywhere)
    assert not density.any()

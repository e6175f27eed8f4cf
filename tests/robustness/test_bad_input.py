"""One test for each way in which a file can be bad: the right data, or one line with the fault and a hint."""

import gzip
import tarfile

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits

from faintsky import open_cube, open_image
from faintsky.errors import InputError
from faintsky.image import RadioCube
from faintsky.io import save_like

SHAPE = (24, 32, 32)


def one_line(error: InputError, path, fault: str) -> None:
    text = str(error)
    assert text.startswith(f"{path}: ")
    assert fault in text
    assert error.hint
    assert text.endswith(error.hint)
    assert "\n" not in text


def refused(path, fault: str, **options):
    with pytest.raises(InputError) as caught:
        _ = open_cube(path, **options).data
    one_line(caught.value, path, fault)


@pytest.mark.parametrize(
    "content",
    [b"", b"hello world\n" * 1000, b"SIMPLE  =", b"\x00" * 5000, b"\x89PNG\r\n\x1a\n" * 500],
    ids=["empty", "text", "short", "zeros", "png"],
)
@pytest.mark.parametrize("extension", [".fits", ".fits.gz", ".dat"])
def test_not_fits(tmp_path, content, extension):
    path = tmp_path / f"x{extension}"
    path.write_bytes(content)
    refused(path, "FITS")


@pytest.mark.parametrize("name", ["x.tar.gz", "x.TGZ", "x.tar"])
def test_archives(tmp_path, name):
    path = tmp_path / name
    (tmp_path / "a.txt").write_text("some words")
    with tarfile.open(path, "w" if name.endswith(".tar") else "w:gz") as archive:
        archive.add(tmp_path / "a.txt", "a.txt")
    refused(path, "unpack it")  # without a warning, which fails tests


def test_missing_file(tmp_path):
    refused(tmp_path / "none.fits", "no such file")


@pytest.mark.parametrize("kept", [3000, 6000, 60000, -1])
def test_truncated(make_fits, kept):
    path = make_fits()
    path.write_bytes(path.read_bytes().rstrip(b"\0")[:kept])
    with pytest.raises(InputError) as caught:
        open_cube(path)  # before any data are asked for
    one_line(caught.value, path, "is truncated")


@pytest.mark.parametrize("kept", [200, 20000, -100])
def test_truncated_while_compressed(make_fits, tmp_path, kept):
    path = tmp_path / "t.fits.gz"
    path.write_bytes(gzip.compress(make_fits().read_bytes())[:kept])
    refused(path, "is not a FITS file")


@pytest.mark.parametrize("data", [np.ones(50), None], ids=["1-D", "no data"])
def test_too_few_axes(tmp_path, data):
    path = tmp_path / "x.fits"
    fits.PrimaryHDU(data).writeto(path)
    refused(path, "1-dimensional" if data is not None else "holds no image")


def test_five_axes(tmp_path, header):
    path = tmp_path / "x.fits"
    fits.PrimaryHDU(np.ones((1, 1, 4, 8, 8)), header()).writeto(path)
    refused(path, "5 axes")


def test_no_coordinates(tmp_path):
    path = tmp_path / "x.fits"
    fits.PrimaryHDU(np.ones((4, 8, 8))).writeto(path)
    refused(path, "no celestial coordinates")


@pytest.mark.parametrize(
    ("cards", "fault"),
    [
        ({"CTYPE1": "RA---XYZ", "CTYPE2": "DEC--XYZ"}, "world coordinates cannot be read"),
        ({"CTYPE1": "ELON-SIN", "CTYPE2": "ELAT-SIN"}, "ELON and ELAT"),
        ({"CDELT1": 0.0}, "world coordinates cannot be read"),
        ({"CTYPE3": "", "CUNIT3": ""}, "no type"),
        ({"CTYPE3": "STOKES", "CUNIT3": ""}, "24 Stokes planes"),
        ({"CTYPE3": "FARADAY", "CUNIT3": "rad/m2"}, "FARADAY"),
        ({"CTYPE3": "FELO-HEL", "CUNIT3": "m/s", "CRVAL3": 3e5, "RESTFRQ": None}, "rest frequency"),
        ({"CUNIT3": "m/s"}, "CUNIT3 is 'm/s' on an axis of CTYPE3 FREQ"),
        ({"CTYPE3": "VRAD", "CUNIT3": "GHz", "CRVAL3": 3e5}, "CUNIT3 is 'GHz' on an axis of CTYPE3 VRAD"),
        ({"CRVAL1": 5e11}, "CRVAL1 is 5e+11 deg"),
        ({"LONPOLE": 1e18}, "LONPOLE is 1e+18 deg"),
        ({"CUNIT3": "furlong"}, "CUNIT3 is 'furlong'"),
        ({"CUNIT1": "Hz"}, "CUNIT1 is 'Hz' on an axis of CTYPE1 RA---SIN"),
        ({"CUNIT3": None, "CRVAL3": 100.1, "CDELT3": 0.01}, "no valid frequencies (100.1 to 100.3 Hz)"),
        ({"CUNIT3": "GHz"}, "no valid frequencies (1e+20"),
        ({"CTYPE3": "VRAD", "CUNIT3": "km/s", "CRVAL3": 3e5, "CDELT3": 2e3}, "no valid frequencies"),
        ({"CTYPE3": "CHAN", "CUNIT3": None}, "CTYPE3 'CHAN'"),
        ({"CRVAL3": 0.0, "CDELT3": 0.0}, "cannot be read"),
        ({"CRVAL3": -1e12}, "no valid frequencies"),
        ({"CTYPE3": "WAVE-LOG", "CUNIT3": "m", "CRVAL3": -1e-4}, "cannot be computed"),
        ({"WCSAXES": 65536}, "WCSAXES is 65536"),
        ({"WCSAXESA": 65536}, "WCSAXESA is 65536"),
        ({"CD1_1": 1e304}, "no valid size"),
        ({"RADESYS": "ABC"}, "RADESYS 'ABC' is unknown"),
        ({"RADESYS": None, "EQUINOX": 1e65}, "is not a year"),
    ],
    ids=lambda v: " ".join(f"{k}={x}" for k, x in v.items()) if isinstance(v, dict) else "",
)
def test_coordinates_that_cannot_be_used(make_fits, cards, fault):
    refused(make_fits(**cards), fault)


@pytest.mark.parametrize("n_stokes", [2, 4])
def test_several_stokes_planes(tmp_path, header, n_stokes):
    path, data = tmp_path / "iquv.fits", np.random.default_rng(0).normal(size=(n_stokes, 4, 8, 8))
    head = header(CTYPE4="stokes", CRVAL4=2.0, CDELT4=-1.0, CRPIX4=1.0)  # Q, I …
    fits.PrimaryHDU(data, head).writeto(path)
    opened = open_cube(path)
    np.testing.assert_array_equal(opened.data, data[1].astype(np.float32))
    assert "Stokes I of Q, I" in opened.notes[0]
    chosen = open_cube(path, stokes="q")
    np.testing.assert_array_equal(chosen.data, data[0].astype(np.float32))
    assert not chosen.notes
    saved = open_cube(save_like(tmp_path / "o.fits", chosen.data, chosen))
    assert saved.notes == ["these are data of Stokes Q"]
    refused(path, "none of them V", stokes="V")


@pytest.mark.parametrize(
    ("first", "step", "letters"), [(-1, -1, "RR, LL"), (-5, -1, "XX, YY"), (7, 1, "code")]
)
def test_stokes_planes_without_i(tmp_path, header, first, step, letters):
    path = tmp_path / "x.fits"
    head = header(CTYPE4="STOKES", CRVAL4=first, CDELT4=step, CRPIX4=1.0)
    fits.PrimaryHDU(np.stack([np.zeros((4, 8, 8)), np.ones((4, 8, 8))]), head).writeto(path)
    refused(path, f"2 Stokes planes ({letters}")
    refused(path, "--stokes")
    if letters != "code":
        assert open_cube(path, stokes=letters[-2:]).data.max() == 1


def test_a_stokes_letter_for_a_file_without_such_an_axis(make_fits):
    refused(make_fits(), "no Stokes axis", stokes="Q")
    assert not open_cube(make_fits("c.fits"), stokes="I").notes


def test_a_plane_where_a_cube_is_wanted_and_the_other_way_round(make_fits, tmp_path, header):
    path = make_fits()
    with pytest.raises(InputError) as caught:
        open_image(path)
    one_line(caught.value, path, "cube of 24 channels")
    plane = tmp_path / "plane.fits"
    fits.PrimaryHDU(np.ones((8, 8)), header()).writeto(plane)
    refused(plane, "2-D image")


@pytest.mark.parametrize("value", [np.nan, 0.0, 3.5])
def test_all_blank_or_constant(make_fits, value):
    opened = open_cube(make_fits(data=np.full(SHAPE, value, dtype=np.float32)))
    assert opened.blank_channels.all()


def test_blank_channels_and_borders(make_fits, noisy):
    data = noisy().astype(np.float32)
    data[0], data[5], data[:, :3] = 0, np.nan, np.nan
    opened = open_cube(make_fits(data=data))
    assert list(np.flatnonzero(opened.blank_channels)) == [0, 5]
    np.testing.assert_array_equal(opened.data, data)


def test_infinite_and_huge_values_are_blank(make_fits, noisy):
    data = noisy()
    data[1, 2, 3], data[1, 2, 4], data[1, 2, 5] = np.inf, -1e300, 1e30
    opened = open_cube(make_fits(data=data))
    assert np.isnan(opened.data[1, 2, 3:5]).all()
    assert opened.data[1, 2, 5] == np.float32(1e30)
    assert opened.notes == ["2 pixels are infinite, and taken as blank"]
    assert RadioCube.from_array(data, cell=1.0, frequencies=1e9 + np.arange(len(data))).notes == opened.notes


TYPES = {"int16 scaled": "i2", "int16 unscaled": "i2", "int32": "i4", "uint8": "u1"}


@pytest.mark.parametrize("kind", ["int16 scaled", "int32", "uint8", ">f8", ">f4", "int16 unscaled"])
def test_data_of_any_type(tmp_path, header, noisy, kind):
    path, cube = tmp_path / "x.fits", np.round(noisy() * 10).clip(0, 250)
    cards, expected = {}, cube.astype(np.float32)
    raw = cube.astype(TYPES.get(kind, kind))
    if "int16" in kind:
        raw[2, 3, 4], cards = -32768, {"BLANK": -32768}
        expected[2, 3, 4] = np.nan
    hdu = fits.PrimaryHDU(raw, header(**cards))
    if kind == "int16 scaled":
        hdu.header["BSCALE"], hdu.header["BZERO"] = 0.25, 10.0
        expected = expected * 0.25 + 10
    hdu.writeto(path)
    opened = open_cube(path)
    np.testing.assert_allclose(opened.data, expected, rtol=1e-6)
    assert opened.data.dtype.isnative
    assert opened.data.dtype == np.float32


def test_descending_frequency(make_fits):
    opened = open_cube(make_fits(CDELT3=-1e7))
    np.testing.assert_allclose(opened.frequencies, 1e11 - 1e7 * np.arange(24), rtol=1e-13)
    assert np.all(opened.channel_widths() > 0)
    assert np.all(np.diff(opened.velocities()) > 0)


BEAM = {"BMAJ": None, "BMIN": None, "BPA": None}


@pytest.mark.parametrize(
    ("cards", "fault"),
    [
        (BEAM, "no synthesised beam"),
        ({"BMAJ": -1e-3}, "impossible"),
        ({"BMIN": 0.0}, "impossible"),
        ({"BMAJ": 1e-4, "BMIN": 2e-4}, "impossible"),
        ({"BMAJ": 2.0, "BMIN": 1.5}, "impossible"),  # arcsec where degrees are due
        ({"BMAJ": 1e-7, "BMIN": 1e-7}, "impossible"),  # a fraction of a pixel that no map has
        ({"BMAJ": "none"}, "no synthesised beam"),
    ],
    ids=str,
)
def test_no_beam_is_an_error_only_where_one_is_needed(make_fits, cards, fault):
    path = make_fits(**cards)
    opened = open_cube(path)
    assert opened.beams is None
    assert np.isfinite(opened.data).all()
    with pytest.raises(InputError) as caught:
        opened.require_beam()
    one_line(caught.value, path, fault)


@pytest.mark.parametrize(("bpa", "expected"), [(400.0, 40.0), (-100.0, 80.0), (1e6, np.mod(1e6, 180))])
def test_beam_angle_out_of_range(make_fits, bpa, expected):
    assert open_cube(make_fits(BPA=bpa)).require_beam()[0, 2] == pytest.approx(expected)


def test_no_unit_and_no_angle(make_fits):
    opened = open_cube(make_fits(BUNIT=None, BPA=None))
    assert opened.unit == u.Jy / u.beam
    assert "no BUNIT" in opened.notes[0]
    assert "BPA" in opened.notes[1]


def test_companion_files_that_cannot_be(make_fits, tmp_path):
    cube = make_fits()
    bad = tmp_path / "bad.fits"
    bad.write_text("no")
    with pytest.raises(InputError) as caught:
        open_cube(cube, psf=bad)
    one_line(caught.value, bad, "FITS")
    flat = make_fits("flat.fits", data=np.ones((1, 32, 32)))
    with pytest.raises(InputError) as caught:
        _ = open_cube(cube, pb=make_fits("pb.fits", data=np.full((1, 32, 32), 7.0))).pb
    assert "between 0 and 1" in str(caught.value)
    with pytest.raises(InputError) as caught:
        _ = open_cube(cube, psf=flat).psf
    assert "edge" in str(caught.value)


def test_a_second_spectral_axis_without_data(make_fits):
    opened = open_cube(make_fits(CTYPE4="FREQ"))
    np.testing.assert_allclose(opened.frequencies, 1e11 + 1e7 * np.arange(24), rtol=1e-13)


@pytest.mark.parametrize("text", ["-1", "3", "1e400", "Jy/beam/beam)", "-2 Jy/beam"])
def test_units_that_are_none_give_no_fluxes(make_fits, text):
    opened = open_cube(make_fits(BUNIT=text))
    assert str(opened.unit) == text
    assert not opened.has_flux
    assert f"BUNIT {text!r}" in opened.notes[0]


def test_broken_cards_are_read_past(make_fits):
    path = make_fits(OBJECT="x" * 8)
    text = path.read_bytes().replace(b"OBJECT  = 'xxxxxxxx'", b"OBJECT  = xxxxx\xe9xx~ ")
    path.write_bytes(text)
    assert open_cube(path).data.shape == SHAPE

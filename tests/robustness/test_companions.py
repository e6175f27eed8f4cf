"""Companions of another unit, field, grid or kind: converted, or refused before the search."""

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import NDData
from astropy.wcs import WCS

from faintsky import RadioCube, RadioImage, open_cube, open_image
from faintsky.cli import main
from faintsky.errors import InputError
from faintsky.grid import FWHM_PER_SIGMA

N = 32
NO_AXIS = dict.fromkeys(("CTYPE3", "CRVAL3", "CDELT3", "CRPIX3", "CUNIT3"))


def gaussian(fwhm_x, fwhm_y=None, n=N):
    y, x = np.mgrid[:n, :n] - n // 2
    return np.exp(-0.5 * ((x / fwhm_x) ** 2 + (y / (fwhm_y or fwhm_x)) ** 2) * FWHM_PER_SIGMA**2)


def dirty_psf():
    """Of the test cube's beam, 4 x 3 pixels, with sidelobes."""
    return gaussian(4, 3) - 0.05 * gaussian(12)


VALUES = {
    "psf": dirty_psf() / dirty_psf().max(),
    "pb": gaussian(25),
    "rms": np.full((N, N), 1e-3) * (1 + 0.1 * gaussian(20)),
    "mask": (gaussian(10) > 0.3) * 2.0,
}

FAULTS = {
    "psf": "give the dirty beam", "pb": "a primary beam lies between 0 and 1", "rms": "the noise map",
    "mask": "a mask holds whole numbers",
}  # fmt: skip


@pytest.fixture
def write(make_fits):
    """A function that writes a companion, with coordinates of the test cube's pixels, of one plane."""

    def companion(kind, name="companion.fits", data=None, **cards):
        values = VALUES[kind] if data is None else data
        cards = {"BUNIT": "Jy/beam" if kind == "rms" else None, **NO_AXIS, **cards}
        return make_fits(name, values.astype(np.float32), **cards)

    return companion


def refused(cube, kind, path, fault):
    with pytest.raises(InputError) as caught:
        open_cube(cube, **{kind: path}).check_companions()
    assert str(caught.value).startswith(f"{path}: ")
    assert fault in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize("kind", list(VALUES))
@pytest.mark.parametrize("coordinates", [True, False])
def test_the_right_ones_are_taken_without_a_word(make_fits, write, tmp_path, kind, coordinates):
    path = write(kind)
    if not coordinates:
        path = tmp_path / "plain.fits"
        fits.writeto(path, VALUES[kind].astype(np.float32), fits.Header({"BUNIT": "Jy/beam"}))
    opened = open_cube(make_fits(), **{kind: path})
    opened.check_companions()
    wanted = VALUES[kind] != 0 if kind == "mask" else VALUES[kind]
    np.testing.assert_allclose(getattr(opened, kind)[0], wanted, rtol=1e-6)
    assert not opened.notes


@pytest.mark.parametrize(("own", "given"), [(a, b) for a in VALUES for b in VALUES if a != b])
def test_swapped_companions_are_refused(make_fits, write, own, given):
    refused(make_fits(), given, write(own), FAULTS[given])


@pytest.mark.parametrize("kind", list(VALUES))
def test_the_cube_itself_is_no_companion(make_fits, kind):
    path = make_fits()
    refused(path, kind, path, FAULTS[kind])


def test_a_restoring_beam_as_primary_beam(make_fits, write):
    refused(make_fits(), "pb", write("pb", data=gaussian(4, 3)), "as narrow as the synthesised beam")


def test_a_psf_of_another_array(make_fits, write):
    refused(make_fits(), "psf", write("psf", data=gaussian(14)), "not the psf of these data")


def test_a_primary_beam_as_psf_where_no_beam_is_known(make_fits, write):
    cube = make_fits(BMAJ=None, BMIN=None, BPA=None)
    refused(cube, "psf", write("pb"), "main lobe")
    open_cube(cube, psf=write("psf", "psf.fits")).check_companions()


def test_noise_in_the_range_of_a_primary_beam(make_fits, write):
    """Noise of 0.3 mJy/beam lies between 0 and 1 as a primary beam does."""
    from conftest import noise_cube

    cube = make_fits(data=(0.3 * noise_cube()).astype(np.float32), BUNIT="mJy/beam")
    refused(cube, "pb", write("rms", data=300 * VALUES["rms"], BUNIT="mJy/beam"), "between 0 and 1")


@pytest.mark.parametrize("kind", ["pb", "rms", "mask"])
@pytest.mark.parametrize(
    ("cards", "fault"),
    [
        ({"CRVAL1": 150.01}, "pixels from those of the data"),
        ({"CRVAL2": 20.0}, "field"),
        ({"CRPIX2": 18.0}, "up to 1 pixels from"),
        ({"CDELT1": -0.55 / 3600, "CDELT2": 0.55 / 3600}, "pixels from those of the data"),
    ],
    ids=["beside", "field", "shift", "cell"],
)
def test_of_another_field_or_grid(make_fits, write, kind, cards, fault):
    with pytest.raises(InputError, match="regridded") as caught:
        open_cube(make_fits(), **{kind: write(kind, **cards)})  # by the headers alone
    assert fault in str(caught.value) or "another field" in str(caught.value)


def test_a_fraction_of_a_pixel_and_another_frame_do_not_matter(make_fits, write):
    path = write("pb", CRPIX1=17.2)
    np.testing.assert_allclose(open_cube(make_fits(), pb=path).pb[0], VALUES["pb"], rtol=1e-6)


@pytest.mark.parametrize(
    ("cards", "fault"),
    [({"CDELT1": -0.6 / 3600, "CDELT2": 0.6 / 3600}, "0.6 arcsec"), ({"CRVAL2": 20.0}, "another field")],
    ids=["cell", "field"],
)
def test_a_psf_of_another_cell_or_field(make_fits, write, cards, fault):
    refused(make_fits(), "psf", write("psf", **cards), fault)


@pytest.mark.parametrize("kind", ["pb", "psf", "rms", "mask"])
def test_of_other_channels(make_fits, kind):
    planes = np.repeat(VALUES[kind][None], 24, axis=0).astype(np.float32)
    unit = {"BUNIT": "Jy/beam"}
    right = make_fits("right.fits", planes, **unit)
    open_cube(make_fits(), **{kind: right}).check_companions()
    velocity = {"CTYPE3": "VRAD", "CUNIT3": "m/s", "RESTFRQ": None}
    c = 299792458.0
    first, step = c * (1 - 1e11 / 1.001e11), -c * 1e7 / 1.001e11
    as_velocities = make_fits("v.fits", planes, CRVAL3=first, CDELT3=step, **velocity, **unit)
    open_cube(make_fits("c2.fits"), **{kind: as_velocities})  # with the data's own rest frequency
    for name, cards in {"reversed": {"CDELT3": -1e7}, "far": {"CRVAL3": 2e11}}.items():
        path = make_fits(f"{name}.fits", planes, **cards, **unit)
        refused(make_fits(f"c{name}.fits"), kind, path, "its channels run from")


def test_a_primary_beam_of_another_band(make_fits, write):
    axis = {"CTYPE3": "FREQ", "CRVAL3": 3e11, "CDELT3": 1e9, "CRPIX3": 1.0, "CUNIT3": "Hz"}
    path = write("pb", data=VALUES["pb"][None], **axis)
    refused(make_fits(), "pb", path, "300 GHz")


@pytest.mark.parametrize("unit", ["mJy/beam", "MJY/BEAM", "uJy/beam", "K", "Jy/pixel", "MJy/sr"])
def test_noise_in_another_unit_is_converted(make_fits, write, unit):
    cube = make_fits()
    in_jansky = open_cube(make_fits("other.fits", BUNIT=unit)).to_jy_per_beam()
    given = write("rms", data=VALUES["rms"] / in_jansky[12], BUNIT=unit)
    rms = open_cube(cube, rms=given).rms
    assert rms.shape[0] == (24 if unit == "K" else 1)
    np.testing.assert_allclose(rms[len(rms) // 2], VALUES["rms"], rtol=1e-3)


def test_noise_in_a_unit_that_cannot_be_converted(make_fits, write):
    refused(make_fits(), "rms", write("rms", BUNIT="counts"), "cannot be turned into Jy / beam")
    in_counts = make_fits("counts.fits", BUNIT="counts")
    np.testing.assert_allclose(
        open_cube(in_counts, rms=write("rms", "r2.fits", BUNIT="counts")).rms[0], VALUES["rms"], rtol=1e-6
    )
    refused(in_counts, "rms", write("rms", "r3.fits"), "cannot be turned into counts")


def test_noise_without_a_unit(make_fits, write):
    opened = open_cube(make_fits(), rms=write("rms", BUNIT=None))
    np.testing.assert_allclose(opened.rms[0], VALUES["rms"], rtol=1e-6)
    assert "no BUNIT" in opened.notes[0]
    refused(
        make_fits("c2.fits"), "rms", write("rms", "m.fits", BUNIT=None, data=1e3 * VALUES["rms"]), "times"
    )
    opened = open_cube(
        make_fits("c3.fits"), rms=write("rms", "k.fits", BUNIT=None, data=1e-4 * VALUES["rms"])
    )
    opened.check_companions()
    assert "check that its unit is the same" in opened.notes[-1]


def test_masked_arrays_and_quantities_as_companions():
    rng = np.random.default_rng(0)
    data = np.ma.array(rng.normal(size=(N, N)), mask=gaussian(4) > 0.9)
    noise = np.ma.array(np.full((N, N), 1.0), mask=gaussian(4) > 0.5)
    image = RadioImage.from_array(data * 1e-3, cell=1.0, rms=noise * 1e-3, beam=[4, 3, 0])
    assert np.isnan(image.data).sum() == data.mask.sum() > 0
    assert np.isnan(image.rms[0]).sum() == noise.mask.sum()
    in_millijansky = RadioImage.from_array(
        data.data << u.mJy / u.beam, cell=1 * u.arcsec, rms=np.full((N, N), 1e-3) << u.Jy / u.beam
    )
    assert in_millijansky.unit == u.mJy / u.beam
    np.testing.assert_allclose(in_millijansky.rms, 1.0)
    with pytest.raises(InputError, match="cannot be turned into"):
        RadioImage.from_array(data.data, cell=1.0, rms=np.ones((N, N)) << u.km)
    with pytest.raises(InputError, match="its mask is in K"):
        RadioImage.from_array(data.data, cell=1.0, mask=np.ones((N, N)) << u.K)
    again = open_image(image, rms=noise * 1e-3)
    assert np.isnan(again.rms[0]).sum() == noise.mask.sum()


def test_masked_companions_in_foreign_objects(make_fits, header):
    blank = gaussian(4) > 0.5
    noise = np.ma.array(VALUES["rms"].astype(np.float32), mask=blank)
    plane = {k: v for k, v in header().items() if not k.endswith("3")}
    things = [
        fits.ImageHDU(noise, fits.Header(plane)),
        NDData(noise.data * 1e3, mask=blank, wcs=WCS(fits.Header(plane)), unit=u.mJy / u.beam),
    ]
    for thing in things:
        rms = open_cube(make_fits(f"{id(thing)}.fits"), rms=thing).rms[0]
        np.testing.assert_array_equal(np.isnan(rms), blank)
        np.testing.assert_allclose(rms[~blank], VALUES["rms"][~blank], rtol=1e-5)


def test_arrays_with_units_of_their_own():
    frequencies = (230 + 0.01 * np.arange(4)) << u.GHz
    cube = RadioCube.from_array(
        np.ones((4, N, N)) << u.K, cell=1 * u.arcmin, frequencies=frequencies,
        beam=(0.1 * u.deg, 3 * u.arcmin, 9), rest_frequency=231 * u.GHz, ra=10 * u.hourangle,
    )  # fmt: skip
    assert cube.unit == u.K
    np.testing.assert_allclose([cube.grid.cell, cube.grid.ra, cube.rest_frequency], [60, 150, 2.31e11])
    np.testing.assert_allclose(cube.beams[0], [360, 180, 9])
    np.testing.assert_allclose(cube.frequencies, 1e9 * frequencies.value)
    in_jansky = RadioImage.from_array(np.ones((N, N)) << u.mJy / u.beam, cell=1, unit="Jy/beam")
    np.testing.assert_allclose(in_jansky.data, 1e-3)
    with pytest.raises(InputError, match="its data is in K"):
        RadioImage.from_array(np.ones((N, N)) << u.K, cell=1, unit="Jy/beam")


@pytest.mark.parametrize("command", ["detect", "inject"])
def test_commands_refuse_them_before_the_search(make_fits, write, tmp_path, capsys, monkeypatch, command):
    def search(*args, **kwargs):
        raise AssertionError("the search began")

    monkeypatch.setattr("faintsky.detection.find_catalog", search)
    cube, path, out = make_fits(), write("psf"), tmp_path / "out"
    words = [command, str(cube), "--out", str(out), "--device", "cpu", "--pb", str(path)]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert f"{path}: a primary beam lies between 0 and 1" in said
    assert not out.exists()


def test_denoise_refuses_them_before_the_work(make_fits, write, tmp_path, capsys, monkeypatch, passing):
    monkeypatch.setattr("faintsky.denoising.make_denoiser", None)
    from conftest import noise_cube

    image = make_fits("i.fits", (noise_cube()[3] * 1e-3).astype(np.float32), **NO_AXIS)
    path, out = write("pb"), tmp_path / "out"
    words = ["denoise", str(image), "--out", str(out), "--device", "cpu", "--model", str(passing)]
    assert main([*words, "--psf", str(path)]) == 2
    assert f"{path}: not the psf of these data" in capsys.readouterr().err
    assert not out.exists()

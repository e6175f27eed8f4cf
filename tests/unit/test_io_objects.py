"""Objects of other packages, and regions for DS9."""

from types import SimpleNamespace

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData
from astropy.wcs import WCS
from regions import PixCoord, Regions

from faintsky import RadioCube, open_cube, open_image
from faintsky.catalog import make_table
from faintsky.errors import InputError
from faintsky.io import save_like, write_regions


def hdu(header, noisy):
    return fits.PrimaryHDU(noisy().astype(np.float32), header())


def test_hdus_and_lists_of_them(header, noisy):
    for thing in (hdu(header, noisy), fits.HDUList([hdu(header, noisy)])):
        opened = open_cube(thing)
        np.testing.assert_array_equal(opened.data, noisy().astype(np.float32))
        assert opened.beams is not None


def test_a_spectral_cube_is_known_by_its_hdu(header, noisy):
    class SpectralCube:
        hdu = hdu(header, noisy)

    assert open_cube(SpectralCube()).shape == (24, 32, 32)
    with pytest.raises(InputError, match="SpectralCube: is a cube of 24 channels"):
        open_image(SpectralCube())


def test_a_ccd_image_with_a_mask(header):
    mask = np.zeros((32, 32), dtype=bool)
    mask[3, 4] = True
    ccd = CCDData(np.ones((32, 32)), unit=u.Jy / u.beam, mask=mask, wcs=WCS(header()).celestial)
    image = open_image(ccd)
    assert image.unit == u.Jy / u.beam
    assert list(np.argwhere(np.isnan(image.data))[0]) == [3, 4]
    assert np.isnan(image.data).sum() == 1


def test_our_own_cubes_pass_and_take_companions(header, noisy, tmp_path):
    cube = open_cube(hdu(header, noisy))
    assert open_cube(cube) is cube
    again = open_cube(cube, rms=np.full((32, 32), 2.0))
    np.testing.assert_array_equal(again.data, cube.data)
    assert again.rms.shape == (1, 32, 32)


def test_a_cube_made_of_arrays_can_be_saved_and_opened(tmp_path):
    data = np.random.default_rng(0).normal(size=(4, 8, 10)).astype(np.float32)
    frequencies = 1e11 + 1e10 * np.arange(4)
    place = {"cell": 0.5, "frequencies": frequencies, "ra": 10, "dec": 20}
    cube = RadioCube.from_array(data, beam=[2, 1, 20], rest_frequency=1.2e11, **place)
    back = open_cube(save_like(tmp_path / "a.fits", data, cube))
    np.testing.assert_array_equal(back.data, data)
    np.testing.assert_allclose(back.frequencies, cube.frequencies)
    np.testing.assert_allclose(back.beams, cube.beams)
    assert back.rest_frequency == 1.2e11
    np.testing.assert_allclose(back.sky(2, 3), cube.sky(2, 3), atol=1e-12)


@pytest.mark.parametrize("thing", [3, None, SimpleNamespace(data=np.ones((2, 2))), [1, 2], np.ones((3, 3))])
def test_anything_else_is_refused(thing):
    with pytest.raises(InputError, match="is not an image"):
        open_image(thing)


def test_folders_that_are_no_images_are_refused(tmp_path):
    with pytest.raises(InputError, match="not a zarr store"):
        open_cube(tmp_path)
    (tmp_path / "table.dat").write_text("")
    with pytest.raises(InputError, match=r"CASA image.*exportfits"):
        open_cube(tmp_path)


def sources():
    return make_table(
        {
            "id": [1, 2, 3, 4],
            "ra": [150.0, 150.001, np.nan, np.nan],
            "dec": [-30.0, -30.001, 0.0, np.nan],
            "x": [3.0, 4.0, 7.0, np.nan],
            "y": [3.0, 4.0, 8.0, np.nan],
            "fwhm_maj": [5.0, np.nan, 1.0, 1.0],
            "fwhm_min": [5**0.5, np.nan, 1.0, 1.0],
            "pa": [30.0, np.nan, 0.0, 0.0],
            "dc_maj": [3.0, 0.0, 1.0, 1.0],
            "dc_min": [1.0, 0.0, 1.0, 1.0],
            "dc_pa": [30.0, 0.0, 0.0, 0.0],
            "x_min": [1, 1, 5, 1],
            "x_max": [1, 1, 9, 1],
            "y_min": [1, 1, 7, 1],
            "y_max": [1, 1, 9, 1],
            "flags": ["", "edge,absorption", "", ""],
        }
    )


@pytest.mark.parametrize(("kind", "label"), [("reg", "text"), ("crtf", "label")])
def test_regions_are_read_by_others_as_the_ellipses_they_are(header, tmp_path, kind, label):
    path = write_regions(tmp_path / f"r.{kind}", sources())
    first, second, *third = Regions.read(path, format="ds9" if kind == "reg" else kind)
    assert first.center.ra.deg == pytest.approx(150.0)
    assert str(first.meta[label]) == "1"
    colours = [r.visual.get("facecolor", r.visual.get("color")) for r in (first, second)]
    assert colours == ["green", "red"]
    assert second.width.to_value(u.arcsec) == pytest.approx(1.0, abs=1e-4)
    pixels = first.to_pixel(WCS(header()).celestial)
    assert {round(pixels.width * 0.5, 3), round(pixels.height * 0.5, 3)} == {5.0, round(5**0.5, 3)}
    # the point half a major axis away along position angle 30 lies on the ellipse's rim
    along = np.array([-np.sin(np.deg2rad(30)), np.cos(np.deg2rad(30))]) / 0.5
    inside, outside = (regions_contains(pixels, 2.5 * k * along) for k in (0.98, 1.02))
    assert (inside, outside) == (True, False)
    assert not regions_contains(pixels, 2.4 * along[::-1] * [-1, 1])
    # without a place on the sky: the box, in pixels
    boxes = [(r.center.x, r.center.y, r.width, r.height) for r in third]
    assert boxes == ([(7.0, 8.0, 5.0, 3.0)] if kind == "reg" else [])


def test_a_region_is_as_small_as_its_source(tmp_path):
    table = sources()[:1]
    table["fwhm_maj"], table["fwhm_min"], table["pa"] = 0.3, 0.2, 30.0
    (region,) = Regions.read(write_regions(tmp_path / "r.reg", table), format="ds9")
    sides = [v.to_value(u.arcsec) for v in (region.width, region.height)]
    assert sides == pytest.approx([0.2, 0.3], abs=1e-3)


def regions_contains(region, offset):
    return bool(region.contains(PixCoord(region.center.x + offset[0], region.center.y + offset[1])))


def test_regions_of_no_sources(tmp_path):
    path = write_regions(tmp_path / "none.reg", make_table({}))
    assert "ellipse" not in path.read_text()

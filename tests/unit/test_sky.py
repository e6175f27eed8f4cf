"""Random skies as bright as they say; the user's own model, and antenna files to observe it."""

import numpy as np
import pytest
from astropy.io import fits
from scipy.spatial.distance import pdist

import faintsky
from faintsky.errors import InputError
from faintsky.sky import draw_diffuse, draw_fluxes, draw_radio_galaxies, random_field, read_model
from faintsky.telescopes import enu_to_itrf, itrf_to_geodetic, load_array, make_track, read_cfg, ut1_minus_utc

# ---------------------------------------------------------------------- random skies


def test_diffuse_skies_depend_on_the_seed_only():
    one, same, other = (draw_diffuse(np.random.default_rng(s), (200, 150), 2.0) for s in (1, 1, 2))
    assert one.shape == (200, 150)
    assert one.dtype == np.float32
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_diffuse_skies_are_positive_and_cover_the_range():
    skies = [draw_diffuse(np.random.default_rng(s), (256, 256), 4.0, crowding=5) for s in range(30)]
    peaks = np.array([s.max() for s in skies])
    assert all((s >= 0).all() and np.isfinite(s).all() for s in skies)
    assert peaks.min() < 1e-5
    assert 1e-5 < peaks.max() < 30e-3
    covered = np.mean([(s > 1e-8).mean() for s in skies])
    assert 0.02 < covered < 0.8


def test_random_field_has_the_spectrum_asked_for():
    rng = np.random.default_rng(0)
    n, index = 256, 3.0
    power = np.mean(
        [np.abs(np.fft.rfft2(random_field(rng, (n, n), index, n))) ** 2 for _ in range(20)], axis=0
    )
    k = np.hypot(np.fft.fftfreq(n)[:, None], np.fft.rfftfreq(n)[None, :])
    low, high = ((k > a) & (k < 1.1 * a) for a in (0.05, 0.2))
    slope = np.log(power[high].mean() / power[low].mean()) / np.log(k[high].mean() / k[low].mean())
    assert abs(slope + index) < 0.15


def test_source_counts_follow_the_law():
    rng = np.random.default_rng(3)
    flux = np.concatenate([draw_fluxes(rng, 20.0, 1e-3, 3.0) for _ in range(20)])
    area = 400
    for limit, expected in ((1e-3, 650 - 0.0685), (1e-2, 65), (0.1, 6.5)):
        found = (flux > limit).sum() / area
        assert abs(found - expected) < 4 * np.sqrt(expected / area)
    bright = flux[flux > 0.3]
    assert bright.size > 100
    # slope -1.5 of the integral counts above the break: 2.83 times fewer at twice the flux
    share = (bright > 0.6).mean()
    assert abs(share - 2**-1.5) < 4 * np.sqrt(0.25 / bright.size) + 0.03


def test_radio_galaxies_keep_their_flux_and_scale_with_frequency():
    size, cell = 400, 2.0
    totals, expected = [], []
    for seed in range(6):
        sky = draw_radio_galaxies(np.random.default_rng(seed), (size, size), cell)
        flux = draw_fluxes(np.random.default_rng(seed), (size * cell / 3600) ** 2, 5e-5, 3.0)
        totals.append(sky.sum())
        expected.append(flux.sum())
        assert (sky >= 0).all()
    # lobes reach over the border, so a little is lost
    assert 0.9 < np.sum(totals) / np.sum(expected) < 1.02
    low, high = (
        draw_radio_galaxies(np.random.default_rng(9), (64, 64), 2.0, freq=f).sum() for f in (150e6, 600e6)
    )
    np.testing.assert_allclose(high / low, 4**-0.7, rtol=1e-4)


# ---------------------------------------------------------------------- observing the user's own model

TRACK = {"total_time": 100, "integration": 20}


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("FAINTSKY_CACHE", str(tmp_path_factory.getbasetemp() / "sky_cache"))


def write(path, data, **cards):
    n = data.shape[-1]
    header = fits.Header()
    values = {
        "CTYPE1": "RA---SIN", "CRVAL1": 60.0, "CDELT1": -0.1 / 3600, "CRPIX1": n // 2 + 1.0,
        "CTYPE2": "DEC--SIN", "CRVAL2": -35.0, "CDELT2": 0.1 / 3600, "CRPIX2": n // 2 + 1.0,
        "BUNIT": "Jy/pixel",
    }  # fmt: skip
    if data.ndim > 2:
        values |= {"CTYPE3": "FREQ", "CRVAL3": 230e9, "CDELT3": 10e6, "CRPIX3": 3.0, "CUNIT3": "Hz"}
    for key, value in {**values, **cards}.items():
        if value is not None:
            header[key] = value
    fits.writeto(path, data.astype(np.float32), header, overwrite=True)
    return path


def point(n=64, channels=4):
    cube = np.zeros((channels, n, n))
    cube[:, 40, 25] = np.arange(1, channels + 1) * 1e-3
    return cube


def test_a_cube_is_observed_as_it_is(tmp_path):
    path = write(tmp_path / "sky.fits", point())
    faintsky.simulate_alma(tmp_path / "out", sky=path, noise=False, **TRACK)
    with fits.open(tmp_path / "out" / "0000_dirty.fits") as hdus:
        data, header = hdus[0].data, hdus[0].header
    assert np.unravel_index(np.nanargmax(data), data.shape) == (3, 40, 25)
    assert header["CRVAL3"] == 230e9 - 2 * 10e6
    assert (header["CRVAL1"], header["CRPIX1"]) == (60.0, 33.0)
    pb = fits.getdata(tmp_path / "out" / "pb.fits")
    assert data[3, 40, 25] == pytest.approx(4e-3 * pb[3, 40, 25], rel=1e-4)
    np.testing.assert_allclose(fits.getdata(tmp_path / "out" / "0000_sky.fits"), point(), atol=1e-9)


def test_other_headers_of_the_same_sky(tmp_path):
    plain = read_model(write(tmp_path / "a.fits", point()))
    flipped = write(tmp_path / "b.fits", point()[:, :, ::-1], CDELT1=0.1 / 3600, CRPIX1=64 - 32)
    stokes = write(
        tmp_path / "c.fits", point()[:, None], CTYPE3="STOKES", CTYPE4="FREQ", CRVAL4=230.0, CDELT4=0.01,
        CRPIX4=3.0, CUNIT4="GHz", CUNIT3=None,
    )  # fmt: skip
    per_area = write(tmp_path / "d.fits", point() / 0.01, BUNIT="Jy/arcsec2")
    blanks = point()
    blanks[:, 0, 0] = np.nan
    nan = write(tmp_path / "e.fits", blanks)
    for path in (flipped, stokes, per_area, nan):
        other = read_model(path)
        np.testing.assert_allclose(other.data, plain.data, rtol=1e-5, err_msg=str(path))
        assert other.spectral.frequencies() == pytest.approx(plain.spectral.frequencies())
        assert other.grid == plain.grid


def test_an_image_goes_to_all_channels(tmp_path):
    path = write(tmp_path / "sky.fits", point()[0])
    faintsky.simulate_alma(
        tmp_path / "out", sky=path, noise=False, channels=5, freq="100GHz", products="dirty,sky", **TRACK
    )
    data = fits.getdata(tmp_path / "out" / "0000_dirty.fits")
    assert data.shape == (5, 64, 64)
    assert data[:, 40, 25] == pytest.approx(data[0, 40, 25], rel=1e-3)


@pytest.mark.parametrize(
    ("cards", "word"),
    [
        ({"BUNIT": "K"}, "unit"),
        ({"BUNIT": None}, "missing"),
        ({"CTYPE1": "GLON-CAR", "CTYPE2": "GLAT-CAR"}, "RA and Dec"),
        ({"CDELT1": None}, "square"),
        ({"CRVAL1": None}, "CRVAL1"),
        ({"CDELT2": 0.2 / 3600}, "square"),
        ({"CROTA2": 20.0}, "rotated"),
        ({"CRPIX1": 500.0}, "outside"),
        ({"CTYPE3": "VRAD", "CUNIT3": "m/s", "CRVAL3": 1e6, "CDELT3": 1e4}, "rest frequency"),
        ({"CTYPE3": "VOPT", "CUNIT3": "m/s", "CRVAL3": 1e6, "CDELT3": 1e6, "RESTFRQ": 230e9}, "spaced"),
        ({"CUNIT3": "furlong"}, "CUNIT3"),
    ],
)
def test_unclear_models_are_refused(tmp_path, cards, word):
    path = write(tmp_path / "sky.fits", point(), **cards)
    with pytest.raises(InputError, match=word) as error:
        faintsky.simulate_alma(tmp_path / "out", sky=path)
    assert str(path) in str(error.value)
    assert not (tmp_path / "out").exists()


def test_options_that_contradict_the_model_are_refused(tmp_path):
    path = write(tmp_path / "sky.fits", point())
    for wrong in ({"size": 32}, {"channels": 7}, {"snr": 5.0}):
        with pytest.raises(InputError):
            faintsky.simulate_alma(tmp_path / "out", sky=path, **wrong)


def test_names_of_arrays():
    assert load_array("C-3").name == load_array("c3").name == load_array("alma.cycle9.3.cfg").name
    longest = [pdist(load_array(f"alma.cycle9.{n}").itrf).max() for n in range(1, 11)]
    assert longest == sorted(longest)
    assert longest[-1] == pytest.approx(16.2e3, rel=0.05)


def test_a_cfg_file_says_the_same_in_both_systems(tmp_path):
    shipped = load_array("C-2")
    xyz = tmp_path / "xyz.cfg"
    lines = [f"{x:.6f} {y:.6f} {z:.6f} 12. P{i}" for i, (x, y, z) in enumerate(shipped.itrf)]
    xyz.write_text("# observatory=ALMA\n# coordsys=XYZ\n" + "\n".join(lines) + "\n")
    array = read_cfg(xyz)
    np.testing.assert_allclose(array.itrf, shipped.itrf, atol=1e-6)
    assert array.latitude == pytest.approx(shipped.latitude, abs=1e-3)
    local = tmp_path / "loc.cfg"
    local.write_text(
        "# observatory=ALMA\n# coordsys=LOC (local tangent plane)\n# x y z diam pad\n"
        "-33.89412596 -712.7516484 -2.330089496 12. A001 # west\n\n"
        "-17.45390887 -709.6086972 -2.32867142 12. A002\n"
    )
    array = read_cfg(local)
    reference = [2225004.468450, -5440060.207407, -2481684.920605]
    np.testing.assert_allclose(array.itrf[0], reference, atol=1e-5)
    assert array.pads == ("A001", "A002")


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("1 2 3 12 A\n4 5 6 12 B\n", "coordinate system"),
        ("# coordsys=UTM\n1 2 3 12 A\n4 5 6 12 B\n", "UTM"),
        ("# coordsys=LOC\n1 2 3 12 A\n4 5 6 12 B\n", "COFA"),
        ("# coordsys=XYZ\n1 2 x 12 A\n", "line 2"),
        ("# coordsys=XYZ\n1 2 nan 12 A\n", "line 2"),
        ("# coordsys=XYZ\n1 2 3 12 A\n", "fewer than two"),
        ("# coordsys=XYZ\n1 2 3 12 A\n4 5 6 7 B\n", "different sizes"),
        ("# coordsys=LOC\n# COFA=here\n1 2 3 12 A\n4 5 6 12 B\n", "COFA"),
    ],
)
def test_bad_cfg_files(tmp_path, text, word):
    path = tmp_path / "bad.cfg"
    path.write_text(text)
    with pytest.raises(InputError, match=word) as error:
        read_cfg(path)
    assert "bad.cfg" in str(error.value)


def test_geodesy_goes_there_and_back():
    place = enu_to_itrf([[0.0, 0.0, 0.0]], -1.2, 0.7, 100.0)[0]
    assert itrf_to_geodetic(place) == pytest.approx((-1.2, 0.7), abs=1e-9)


def test_a_start_is_a_time_and_an_hour_angle_a_place():
    array = load_array("C-1")
    by_angle = make_track(array, 60.0, -35.0, total_time=600, integration=60, hour_angle=1.0)
    middle = by_angle.hour_angle[len(by_angle.hour_angle) // 2]
    assert np.rad2deg(middle) / 15 == pytest.approx(1.0, abs=0.05)
    start = by_angle.ut1_mjd[0] - 30 / 86400 - ut1_minus_utc(56658.0) / 86400
    by_start = make_track(array, 60.0, -35.0, total_time=600, integration=60, start=start)
    np.testing.assert_allclose(by_start.uvw, by_angle.uvw, atol=1e-4)


def test_earth_rotation_needs_no_network():
    assert ut1_minus_utc(56658.0) == pytest.approx(-0.0969, abs=2e-3)
    assert ut1_minus_utc(20000.0) == 0.0
    assert abs(ut1_minus_utc(57754.5)) < 0.9  # across the leap second of 2016-12-31

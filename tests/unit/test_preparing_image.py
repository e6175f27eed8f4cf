"""What is measured of an image first: noise, blank pixels, units, and whether it is dirty or restored."""

from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from scipy.ndimage import gaussian_filter
from scipy.signal import fftconvolve

from faintsky.errors import InputError
from faintsky.image import RadioCube, RadioImage
from faintsky.io import open_cube, open_image
from faintsky.preparing import (
    Plane,
    Surroundings,
    autocorrelation,
    beam_from_noise,
    fitted_beam,
    gaussian_psf,
    kind_by_sources,
    noise_map,
    prepare_cube,
    prepare_image,
    radial_mean,
    said_kind,
    sidelobe_noise,
)

# ---------------------------------------------------------------------- noise of images


def noise(n, beam, seed=0):
    """Noise of unit rms whose correlation has the FWHM `beam` [pixel]; white for 0."""
    white = np.random.default_rng(seed).normal(size=(n, n))
    if not beam:
        return white
    smooth = gaussian_filter(white, beam / 2.3548 / np.sqrt(2), mode="wrap")
    return smooth / smooth.std()


def everywhere(image):
    return np.ones(image.shape, dtype=bool)


@pytest.mark.parametrize("beam", [0, 3, 8])
@pytest.mark.parametrize("n", [96, 300])
def test_level_of_pure_noise(n, beam):
    levels = [np.median(noise_map(noise(n, beam, s), everywhere(noise(n, 0)), beam)) for s in range(3)]
    assert np.mean(levels) == pytest.approx(1, abs=0.05)


def test_flat_noise_has_a_flat_map():
    assert np.ptp(noise_map(noise(300, 4), np.ones((300, 300), bool), 4)) == 0


@pytest.mark.parametrize("beam", [0, 4])
def test_bright_and_diffuse_emission_do_not_raise_it(beam):
    image = noise(300, beam)
    y, x = np.indices(image.shape)
    image += 6 * np.exp(-((x - 120) ** 2 + (y - 160) ** 2) / (2 * 35.0**2))
    rng = np.random.default_rng(1)
    for cx, cy in rng.integers(10, 290, (25, 2)):
        image += 80 * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * 2.5**2))
    level = noise_map(image, everywhere(image), beam)
    assert np.median(level) == pytest.approx(1, abs=0.15)


def test_noise_that_rises_outwards_is_followed():
    y, x = np.indices((400, 400)) - 200
    rise = np.exp((x**2 + y**2) / (2 * 160.0**2))
    valid = np.hypot(x, y) < 195
    level = noise_map(noise(400, 4) * rise, valid, 4)
    assert np.isnan(level[~valid]).all()
    ratio = (level / rise)[valid]
    assert np.quantile(np.abs(ratio - 1), 0.95) < 0.25
    assert np.median(ratio) == pytest.approx(1, abs=0.06)


def test_correlation_of_noise():
    acf = autocorrelation(noise(200, 6), everywhere(noise(200, 0)), 20)
    assert acf.shape == (41, 41)
    assert acf[20, 20] == pytest.approx(1)
    profile = radial_mean(acf)
    assert profile[3] == pytest.approx(0.5, abs=0.06)
    assert np.abs(profile[12:]).max() < 0.1


@pytest.mark.parametrize("beam", [3, 5, 9])
def test_the_beam_is_read_off_the_noise(beam):
    image = noise(256, beam)
    y, x = np.indices(image.shape)
    image += 300 * np.exp(-((x - 90) ** 2 + (y - 100) ** 2) / (2 * 3.0**2))
    major, minor, _ = beam_from_noise(image, everywhere(image))
    assert np.sqrt(major * minor) == pytest.approx(beam, rel=0.15)


@pytest.mark.parametrize("bright", [0, 3, 50])
def test_white_noise_is_told_whatever_it_covers(bright):
    image = noise(200, 0)
    y, x = np.indices(image.shape)
    image += bright * np.exp(-((x - 90) ** 2 + (y - 100) ** 2) / (2 * 25.0**2))
    assert beam_from_noise(image, everywhere(image)) is None


@pytest.mark.parametrize(("beam", "width"), [(0, 30), (5, 20)])
def test_bright_textured_emission_is_not_taken_for_noise(beam, width):
    image = noise(256, beam)
    texture = noise(256, 12, seed=8)
    y, x = np.indices(image.shape)
    image += 5000 * np.exp(0.5 * texture) * np.exp(-((x - 150) ** 2 + (y - 150) ** 2) / (2 * width**2))
    found = beam_from_noise(image, everywhere(image))
    if beam:
        assert np.sqrt(found[0] * found[1]) == pytest.approx(beam, rel=0.15)
    else:
        assert found is None


def test_prepared_images_are_scaled_by_their_noise():
    image = noise(128, 4) * 3e-4
    image[:10] = np.nan
    p = prepare_image(RadioImage.from_array(image, cell=2.0, beam=[8.0, 6.0, 30.0]))
    assert p.typical_rms == pytest.approx(3e-4, rel=0.06)
    assert p.scaled[20:].std() == pytest.approx(1, abs=0.06)
    np.testing.assert_array_equal(p.weight[:10], 0)
    np.testing.assert_allclose(p.weight[10:], 1, rtol=1e-6)
    assert p.beam == (pytest.approx(4.0), pytest.approx(3.0), pytest.approx(30.0))
    assert p.jy_per_beam == 1
    assert p.jy_per_pixel == pytest.approx(1 / (1.1331 * 12), rel=1e-3)


@pytest.mark.parametrize(
    ("unit", "factor"), [("Jy/pixel", 1.0), ("Jy/arcsec2", 4.0), ("mJy/arcsec2", 4e-3), ("Jy/beam", np.nan)]
)
def test_white_images_have_fluxes_where_the_unit_allows(unit, factor):
    p = prepare_image(RadioImage.from_array(noise(64, 0), cell=2.0, unit=unit))
    assert p.beam is None
    assert p.beam_area == 1
    np.testing.assert_allclose(p.jy_per_pixel, factor)
    assert np.isnan(p.jy_per_beam)


def test_given_noise_wins_and_marks_blanks():
    rms = np.full((64, 64), 2.0)
    rms[:5] = 0
    rms[5:9] = np.nan
    p = prepare_image(RadioImage.from_array(noise(64, 4), cell=1.0, beam=[4, 4, 0], rms=rms))
    assert p.rms_origin == "given"
    np.testing.assert_array_equal(p.valid[:9], False)
    np.testing.assert_array_equal(p.rms[9:], 2.0)
    assert p.with_noise(p.data) is p


def test_noise_not_known_anywhere_is_refused():
    image = RadioImage.from_array(
        noise(32, 0), cell=1.0, rms=np.r_[[np.ones(32)], np.zeros((31, 32))] * np.nan_to_num(0)
    )
    with pytest.raises(InputError, match="rms"):
        prepare_image(image)


# ---------------------------------------------------------------------- kind of data

DATA = Path(__file__).parents[1] / "data"
PSFS = {"lofar": "lofar_wsclean/small.npz", "alma": "alma_pisco_cii_psf.fits.gz"}
SKIES = ("point", "points", "pair", "lobes", "disc", "bowl")


@cache
def psf_of(name):
    """A real psf, 1 in the middle, with odd sides, and its beam."""
    path = DATA / PSFS[name]
    psf = np.load(path)["psf"] / 30000.0 if path.suffix == ".npz" else np.squeeze(fits.getdata(path))
    y, x = np.unravel_index(np.argmax(psf), psf.shape)
    half = min(y, x, psf.shape[0] - 1 - y, psf.shape[1] - 1 - x)
    return psf[y - half : y + half + 1, x - half : x + half + 1].astype(float), fitted_beam(psf)


def sky_of(name, n, beam, rng):
    """Something bright, ``[n, n]``; the bowl is that of missing short spacings about a disc with a core."""
    y, x = np.indices((n, n)) - n // 2
    sky, angle = np.zeros((n, n)), rng.uniform(0, np.pi)
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)

    def blob(at, along, across):
        return np.exp(-4 * np.log(2) * (((u - at * beam) / along) ** 2 + (v / across) ** 2) / beam**2)

    if name in ("point", "pair", "points"):
        sky[n // 2, n // 2] = 1
        if name == "pair":
            sky[n // 2 + int(3 * beam), n // 2 - int(2 * beam)] = 0.5
        for _ in range(12 if name == "points" else 0):
            sky[tuple(rng.integers(8, n - 8, 2))] = 0.1 / rng.uniform(0.1, 1)
    elif name == "lobes":
        sky = blob(0, 0.3, 0.3) + 0.6 * (blob(2.5, 1.2, 0.7) + blob(-2.5, 1.2, 0.7))
        sky += 0.1 * (blob(1.5, 2, 1) + blob(-1.5, 2, 1))
    else:
        sky = 0.2 * blob(0, 6, 3) + 0.5 * blob(0, 0.5, 0.5)
        sky -= 0.02 * blob(0, 14, 14) * (name == "bowl")
    return sky


def noise_of(psf, rng):
    """Noise that is correlated as the psf is, of rms 1."""
    power = np.abs(np.fft.fft2(np.fft.ifftshift(psf)))
    noise = np.fft.ifft2(np.fft.fft2(rng.normal(size=psf.shape)) * np.sqrt(power)).real
    return noise / noise.std()


def observed(psf_name, sky_name, snr, seed, kind):
    """An image of a sky, dirty or restored, in noise."""
    psf, beam = psf_of(psf_name)
    n = psf.shape[0] // 2
    rng = np.random.default_rng(seed)
    sky = sky_of(sky_name, n, np.sqrt(beam[0] * beam[1]), rng)
    half = int(4 * beam[0])
    clean = fftconvolve(sky, gaussian_psf((2 * half + 1, 2 * half + 1), *beam), mode="same")
    seen = clean if kind == "restored" else fftconvolve(sky, psf, mode="same")
    return (seen * snr / clean.max() + noise_of(psf, rng)[:n, :n]).astype(np.float32), beam


def told(data, beam):
    """What an image is taken for, and whether anything told."""
    p = prepare_image(RadioImage.from_array(data, cell=1.0, beam=list(beam)))
    plane = Plane(p.data, np.nan_to_num(p.rms), p.valid)
    kind = kind_by_sources(Surroundings([plane], p.beam_pixels))
    return kind.name, not kind.why.startswith(("noise hides", "no source"))


@pytest.mark.parametrize("psf", PSFS)
@pytest.mark.parametrize("sky", SKIES)
@pytest.mark.parametrize("snr", [20, 60, 300])
def test_restored_images_are_never_called_dirty(psf, sky, snr):
    for seed in range(3):
        assert told(*observed(psf, sky, snr, seed, "restored"))[0] == "restored"


@pytest.mark.parametrize(("psf", "snr"), [("lofar", 60), ("lofar", 300), ("alma", 150), ("alma", 300)])
@pytest.mark.parametrize("sky", ["point", "points", "pair", "lobes"])
def test_dirty_images_are_known_without_a_psf(psf, sky, snr):
    for seed in range(3):
        assert told(*observed(psf, sky, snr, seed, "dirty")) == ("dirty", True)


def test_what_is_too_faint_to_tell_is_said():
    for kind in ("dirty", "restored"):
        data, beam = observed("lofar", "point", 6, 0, kind)
        assert told(data, beam) == ("restored", False)


@pytest.mark.parametrize("sky", ["point", "pair"])
def test_the_level_of_the_sidelobes_is_measured(sky):
    psf, beam = psf_of("lofar")
    data, _ = observed("lofar", sky, 300, 1, "dirty")
    size, n = np.sqrt(beam[0] * beam[1]), len(data)
    plane = Plane(data, np.ones_like(data), np.ones(data.shape, dtype=bool))
    around = Surroundings([plane], size)
    edges = np.array([1.5, 2.0, 3.0, 5.0, 9.0])
    r = np.hypot(*np.mgrid[-n : n + 1, -n : n + 1]) / size
    true = [np.sqrt((psf[(r >= a) & (r < b)] ** 2).mean()) for a, b in pairwise(edges)]
    np.testing.assert_allclose(around.level(edges), true, rtol=0.25)
    # what is left away from the sources is sidelobes and noise, and is known to be
    noise = sidelobe_noise(plane, size)
    at = np.argwhere(sky_of(sky, n, size, np.random.default_rng(1)))
    away = np.min([np.hypot(*(np.indices((n, n)) - p[:, None, None])) for p in at], axis=0) > 2 * size
    assert data[away].std() > 7
    assert (data / np.hypot(1, noise))[away].std() == pytest.approx(0.9, abs=0.25)


# ---------------------------------------------------------------------- headers


@pytest.mark.parametrize(
    ("cards", "history", "kind"),
    [
        ({"WSCMINOR": 0}, [], "dirty"),
        ({"WSCMINOR": 15253.0}, [], "restored"),
        ({"WSCNITER": 0.0}, [], "dirty"),
        ({"NITERS": 500}, [], "restored"),
        ({"NITER": 0}, ["niter = 100"], "dirty"),
        ({}, ["imager::clean() [] Clean gain = 0.1, Niter = 10000"], "restored"),
        ({}, ["tclean( vis='a.ms', niter=0, gain=0.1 )"], "dirty"),
        ({}, ["taskname=tclean niter=0", "taskname=tclean niter=1000"], "restored"),
        ({}, ["AIPS   CLEAN NITER=     1000 PRODUCT=1   / NORMAL"], "restored"),
        ({}, ["AIPS   CLEAN NITER=        0 PRODUCT=1   / NORMAL"], None),
        ({}, ["RESTOR: Miriad restor: Revision 1.11"], "restored"),
        ({}, ["MOSMEM:   niters=40"], "restored"),
        ({}, ["imager::clean() [] Clean gain = 0.1, Ni", ">ter = 200, Threshold = 0.1252 mJy"], "restored"),
        ({}, ["[] Fitted beam used in", "> restoration: 61.4929 by 23.7484 (arcsec)"], "restored"),
        ({"NITER": "many"}, ["no words of it", "criteria = 1"], None),
    ],
)
def test_headers_tell_of_clean(cards, history, kind):
    image = RadioImage.from_array(np.zeros((8, 8)), cell=1.0)
    image.header.update(cards)
    for line in history:
        image.header.add_history(line)
    said = said_kind(image)
    assert (said and said.name) == kind
    assert said_kind(open_image(image, kind="dirty")).name == "dirty"
    with pytest.raises(InputError, match="kind 'clean' is not known; choose one of auto, restored, dirty"):
        open_image(image, kind="clean")


# ---------------------------------------------------------------------- cubes


def line_cube(psf_name, kind, snr, channels=24):
    """Two lines in a cube."""
    psf, beam = psf_of(psf_name)
    n, half, z = psf.shape[0] // 2, int(4 * beam[0]), np.arange(channels)[:, None, None]
    rng = np.random.default_rng(0)
    wanted = psf if kind == "dirty" else gaussian_psf((2 * half + 1, 2 * half + 1), *beam)
    data = np.array([noise_of(psf, rng)[:n, :n] for _ in range(channels)])
    for at, middle in (((n // 2, n // 2 - 9), 8), ((n // 3, n // 2 + 12), 15)):
        sky = np.zeros((n, n))
        sky[at] = snr
        data += fftconvolve(sky, wanted, mode="same") * np.exp(-4 * np.log(2) * ((z - middle) / 4) ** 2)
    details = {"cell": 0.5, "frequencies": 1e11 + 1e7 * np.arange(channels)}
    data = 1e-3 * data[:, n // 2 - 48 : n // 2 + 48, n // 2 - 48 : n // 2 + 48]
    return RadioCube.from_array(data, beam=[beam[0] / 2, beam[1] / 2, beam[2]], **details)


@pytest.mark.parametrize("psf", PSFS)
@pytest.mark.parametrize("kind", ["dirty", "restored"])
def test_cubes_are_told_apart_too(psf, kind):
    made = prepare_cube(line_cube(psf, kind, 60))
    assert made.kind.name == kind
    assert kind == "dirty" or made.psf_origin == "beam"


def test_a_kind_that_nothing_tells_comes_with_advice_on_the_psf():
    plane = Plane(np.zeros((64, 64)), np.ones((64, 64)), np.ones((64, 64), bool))
    assert "if it is dirty, give --psf" in kind_by_sources(Surroundings([plane], 4.0)).note


def test_what_the_user_says_of_a_cube_counts():
    assert prepare_cube(open_cube(line_cube("lofar", "restored", 60), kind="dirty")).psf_from_noise
    assert prepare_cube(open_cube(line_cube("lofar", "dirty", 60), kind="restored")).psf_origin == "beam"
    # where nothing tells: what is too faint for CLEAN looks like the psf of the noise
    faint = prepare_cube(line_cube("lofar", "restored", 4))
    assert "no source is bright enough" in faint.kind.note
    assert faint.kind.note.endswith("; give --kind restored if it is")
    assert faint.psf_from_noise


def test_channels_that_correlate_and_no_beam_do_not_make_a_cube_dirty():
    cube = line_cube("lofar", "restored", 40, channels=40)
    data = cube.data.copy()
    data[1:-1] = data[:-2] / 4 + data[1:-1] / 2 + data[2:] / 4
    smooth = RadioCube.from_array(data, cell=0.5, frequencies=cube.frequencies)
    made = prepare_cube(smooth)
    assert (made.kind.name, made.psf_origin) == ("restored", "beam")

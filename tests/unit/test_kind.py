"""Dirty and restored data are told apart: by headers, and without a psf by what surrounds bright sources."""

from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from scipy.signal import fftconvolve

from faintsky.errors import InputError
from faintsky.image import RadioCube, RadioImage
from faintsky.io import open_cube, open_image
from faintsky.preparing import (
    Plane,
    Surroundings,
    fitted_beam,
    gaussian_psf,
    kind_by_sources,
    prepare_cube,
    prepare_image,
    said_kind,
    sidelobe_noise,
)

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
    return kind.name, not kind.why.startswith(("noise hides", "nothing"))


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
    noise = sidelobe_noise(plane, around, size)
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


def test_what_the_user_says_of_a_cube_counts():
    assert prepare_cube(open_cube(line_cube("lofar", "restored", 60), kind="dirty")).psf_from_noise
    assert prepare_cube(open_cube(line_cube("lofar", "dirty", 60), kind="restored")).psf_origin == "beam"
    # where nothing tells: what is too faint for CLEAN looks like the psf of the noise
    faint = prepare_cube(line_cube("lofar", "restored", 4))
    assert "nothing in it is bright enough" in faint.kind.note
    assert faint.psf_from_noise


def test_channels_that_correlate_and_no_beam_do_not_make_a_cube_dirty():
    cube = line_cube("lofar", "restored", 40, channels=40)
    data = cube.data.copy()
    data[1:-1] = data[:-2] / 4 + data[1:-1] / 2 + data[2:] / 4
    smooth = RadioCube.from_array(data, cell=0.5, frequencies=cube.frequencies)
    made = prepare_cube(smooth)
    assert (made.kind.name, made.psf_origin) == ("restored", "beam")

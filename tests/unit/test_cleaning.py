"""CLEAN taken further: fluxes of sources that an image shows through the dirty beam."""

import numpy as np
import pytest
from astropy.io.fits import Header

from faintsky.detection import detect_image
from faintsky.image import RadioImage
from faintsky.preparing import clean_further, clean_threshold, convolve, fitted_beam, gaussian_psf

SIDE, RMS = 256, 1e-3


def psf_of(rng):
    """Of a few hundred baselines, more of them short: sidelobes of ten per cent."""
    n = 2 * SIDE
    u, v = rng.normal(0, 0.06, (2, 400))
    plane = np.zeros((n, n))
    for sign in (1, -1):
        np.add.at(plane, (np.rint(sign * v * n).astype(int) % n, np.rint(sign * u * n).astype(int) % n), 1.0)
    psf = np.fft.fftshift(np.fft.ifft2(plane).real)
    return psf / psf.max(), plane


@pytest.fixture(scope="module")
def observed():
    rng = np.random.default_rng(3)
    psf, plane = psf_of(rng)
    sky = np.zeros((SIDE, SIDE))
    places = [(60, 70), (180, 60), (90, 190), (200, 200), (128, 128)]
    for (y, x), flux in zip(places, (0.012, 0.02, 0.03, 0.1, 0.4)):
        sky[y, x] = flux
    n = 2 * SIDE
    noise = np.fft.ifft2(np.fft.fft2(rng.normal(size=(n, n))) * np.sqrt(plane)).real[:SIDE, :SIDE]
    dirty = convolve(sky, psf[1:, 1:]) + RMS * noise / noise.std()
    return sky, dirty, psf, fitted_beam(psf)


def test_what_is_left_and_what_is_restored(observed):
    sky, dirty, psf, beam = observed
    valid = np.ones(sky.shape, bool)
    left, restored = clean_further(dirty, valid, psf, beam)
    assert left.std() == pytest.approx(RMS, rel=0.1)
    expected = convolve(sky, gaussian_psf((41, 41), *beam))
    for y, x in np.argwhere(sky > 0):
        assert (left + restored)[y, x] == pytest.approx(expected[y, x], abs=3 * RMS)


def image_of(observed, data, **beside):
    _, _, psf, beam = observed
    return RadioImage.from_array(
        data.astype(np.float32), cell=1.0, beam=beam, psf=psf.astype(np.float32), **beside
    )


def matched(found, sky):
    """Fluxes found at the true places, NaN where there is none; how many sources are none."""
    table = found.catalog
    fluxes = []
    for y, x in np.argwhere(sky > 0):
        near = np.hypot(table["x"] - x, table["y"] - y) < 3
        fluxes.append(float(table["flux"][near][0]) if near.any() else np.nan)
    return np.array(fluxes), len(table) - int(np.isfinite(fluxes).sum())


def test_sources_of_a_dirty_image(observed):
    sky, dirty, _, _ = observed
    fluxes, false = matched(detect_image(image_of(observed, dirty, kind="dirty")), sky)
    assert false == 0
    assert fluxes == pytest.approx(sky[sky > 0], abs=4 * RMS)


def test_sources_below_the_threshold_of_clean(observed):
    """Only the brightest one was cleaned."""
    sky, dirty, psf, beam = observed
    model = np.where(sky > 0.3, sky, 0)
    residual = dirty - convolve(model, psf[1:, 1:])
    restored = residual + convolve(model, gaussian_psf((41, 41), *beam))
    for beside in ({"residual": residual.astype(np.float32)}, {"model_image": model.astype(np.float32)}):
        found = detect_image(image_of(observed, restored, kind="restored", **beside))
        fluxes, false = matched(found, sky)
        assert false == 0
        assert fluxes == pytest.approx(sky[sky > 0], abs=4 * RMS)
        assert not any("undeconvolved" in f for f in found.catalog["flags"])
    without = image_of(observed, restored, kind="restored", residual=residual.astype(np.float32))
    del without.companions["psf"]
    flags = {round(float(r["x"])): r["flags"] for r in detect_image(without).catalog}
    assert "undeconvolved" in flags[200]
    assert "undeconvolved" not in flags[128]


@pytest.mark.parametrize(
    ("cards", "expected"),
    [
        ({}, (0.0, 0.0)),
        ({"WSCTHRES": 2e-4}, (2e-4, 0.0)),
        ({"HISTORY": "wsclean -auto-mask 6 -pol I -auto-threshold 3"}, (0.0, 6.0)),
        ({"HISTORY": "niter = 500, Threshold = 0.75 mJy"}, (7.5e-4, 0.0)),
    ],
)
def test_the_threshold_that_a_header_tells(cards, expected):
    header = Header()
    for key, value in cards.items():
        header[key] = value
    assert clean_threshold(header) == pytest.approx(expected)

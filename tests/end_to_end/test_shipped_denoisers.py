"""Every shipped denoising model of our own, on simulated fields that it never saw and on real images."""

from functools import cache

import numpy as np
import pytest
from synthetic import telescope

from faintsky import denoise, list_models
from faintsky.image import RadioImage
from faintsky.preparing import gaussian_psf

MODELS = [m.name for m in list_models() if m.job == "denoise" and m.settings.get("method") != "dda"]
N = 224
BEAM = (6.0, 4.5, 35.0)

pytestmark = [pytest.mark.learning, pytest.mark.parametrize("model", MODELS)]


def spread(image, beam):
    """An image convolved with a Gaussian beam of unit peak, over its periodic borders."""
    kernel = np.fft.rfft2(np.fft.ifftshift(gaussian_psf(image.shape, *beam)))
    return np.fft.irfft2(np.fft.rfft2(image) * kernel, s=image.shape)


def field(seed, sources=True):
    """Unit noise that is correlated like the beam, and the true sky at the beam's resolution."""
    rng = np.random.default_rng([77, seed])
    root = np.fft.rfft2(np.fft.ifftshift(gaussian_psf((N, N), *BEAM)))
    noise = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(N, N))) * np.sqrt(np.abs(root)), s=(N, N))
    truth = np.zeros((N, N))
    for _ in range(7 if sources else 0):
        size = np.exp(rng.uniform(np.log(4), np.log(24)))
        blob = gaussian_psf((N, N), size, size * rng.uniform(0.4, 1), rng.uniform(0, 180))
        blob = spread(np.roll(blob, rng.integers(-85, 86, 2), axis=(0, 1)), BEAM)
        truth += np.exp(rng.uniform(np.log(1.5), np.log(30))) * blob / blob.max()
    return noise / noise.std() + truth, truth


@cache
def denoised(model, seed, sources=True):
    image, truth = field(seed, sources)
    made = RadioImage.from_array(image.astype(np.float32), cell=1.0, beam=list(BEAM))
    return image, truth, denoise(made, model=model, device="cpu")


def test_errors_are_smaller_than_the_noise(model):
    inside, outside = [], []
    for seed in range(3):
        _, truth, result = denoised(model, seed)
        error = result.image - truth
        inside.append(error[truth > 1])
        outside.append(error[truth < 0.05])
    assert np.concatenate(inside).std() < 0.8
    assert np.concatenate(outside).std() < 0.4


def test_uncertainties_and_flux_errors_are_honest(model):
    pixels, fluxes, total = [], [], 0.0
    for seed in range(5):
        _, truth, result = denoised(model, seed)
        # chosen by what was seen: given the truth instead, a posterior mean is biased and rightly so
        pixels.append(((result.image - truth) / result.uncertainty)[result.image > 0.5])
        mask = result.found.mask
        for row in result.catalog:
            # of a fitted source the part that lies in its mask
            own, area = mask == row["id"], 1.1331 * BEAM[0] * BEAM[1]
            flux = result.model[own].sum() / area if row["flux_method"] == "fit" else row["flux"]
            fluxes.append((flux - truth[own].sum() / area) / row["flux_err"])
            total += 1
    assert total >= 9
    assert 0.5 < np.concatenate(pixels).std() < 1.7
    assert 0.4 < np.std(fluxes) < 1.8
    assert abs(np.mean(fluxes)) < 1.2


def test_bright_peaks_are_kept(model):
    for seed in range(3):
        _, truth, result = denoised(model, seed)
        y, x = np.unravel_index(truth.argmax(), truth.shape)
        if truth[y, x] > 10:
            assert result.image[y, x] == pytest.approx(truth[y, x], abs=max(2.5, 0.1 * truth[y, x]))


def test_nothing_is_found_where_nothing_is(model):
    for seed in (10, 11):
        _, _, result = denoised(model, seed, sources=False)
        assert len(result.catalog) == 0
        assert np.std(result.image) < 0.3


def test_a_dirty_image_is_deconvolved(model):
    t = telescope(128)
    sky = np.zeros((128, 128))
    sky[56, 50] = 90.0
    pad = np.fft.rfft2(sky, s=(256, 256)) * t.weights
    noise = t.noise(np.random.default_rng(4), 1)[0]
    data = (np.fft.irfft2(pad, s=(256, 256))[:128, :128] + noise).astype(np.float32)
    image = RadioImage.from_array(data, cell=1.0, beam=list(t.beam), psf=t.psf)
    result = denoise(image, model=model, device="cpu")
    truth = 90 * np.roll(gaussian_psf((128, 128), *t.beam), (-8, -14), axis=(0, 1))
    assert result.facts["kind"] == "dirty"
    assert result.image[56, 50] == pytest.approx(90, rel=0.1)
    inner = slice(16, -16), slice(16, -16)
    away = (truth < 0.05)[inner]
    assert np.abs(result.image[inner][away]).max() < 0.5 * np.abs(data - noise)[inner][away].max()
    assert result.found.residual[inner].std() == pytest.approx(1, abs=0.25)


def test_a_real_image_with_stripes(model, request):
    from astropy.io import fits

    path = request.path.parents[1] / "data" / "lofar_hba_grb201006a.fits.gz"
    result = denoise(path, model=model, device="cpu")
    data = fits.getdata(path).squeeze()
    rms = result.found.prepared.typical_rms
    y, x = np.unravel_index(data.argmax(), data.shape)
    assert result.found.mask[y, x] > 0
    assert result.image.squeeze()[y, x] == pytest.approx(data[y, x], rel=0.1)
    quiet = result.found.mask == 0
    assert np.quantile(np.abs(result.image[quiet]), 0.95) < 1.0 * rms
    assert np.std(np.clip(result.found.residual[quiet] / rms, -5, 5)) == pytest.approx(1, abs=0.3)


def test_a_real_dirty_image(model, request):
    folder = request.path.parents[1] / "data"
    result = denoise(
        folder / "alma_pisco_cii_dirty.fits.gz", psf=folder / "alma_pisco_cii_psf.fits.gz", model=model,
        device="cpu",
    )  # fmt: skip
    found = result.found
    assert found.kind == "dirty"
    assert len(result.catalog) == 1
    # the quasar's place in the header's frame
    assert abs(result.catalog["ra"][0] - 205.5337) < 2e-4
    assert abs(result.catalog["dec"][0] - 9.4774) < 2e-4
    scaled = found.residual / found.prepared.rms
    assert scaled.std() == pytest.approx(1, abs=0.15)
    assert np.abs(scaled).max() < 6

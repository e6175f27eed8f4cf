"""Every shipped autoencoder, on smooth skies that are not of its training's web, and on a real image."""

from functools import cache

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from faintsky import denoise, list_models
from faintsky.cli import main
from faintsky.image import RadioImage
from faintsky.preparing import gaussian_psf
from faintsky.simulating import UNIT_BEAM, SimulationSettings, at_resolution, open_observatory

MODELS = {m.name: m for m in list_models() if m.settings.get("method") == "dda"}
N = 224

pytestmark = [pytest.mark.learning, pytest.mark.parametrize("model", MODELS)]


@cache
def observatory():
    return open_observatory(SimulationSettings(telescope="lofar", size=N, quick=True))


def field(product, seed, sources=True):
    """An image of a few smooth blobs, the truth at its resolution, and the noise, all in its unit."""
    rng, made = np.random.default_rng([78, seed]), observatory()
    rms, telescope = made.settings.rms, made.telescope
    grid, beam = telescope.instrument.grid, telescope.instrument.beams[0]
    sky = np.zeros((N, N), np.float32)
    for _ in range(4 if sources else 0):
        size = np.exp(rng.uniform(np.log(24), np.log(60)))
        blob = gaussian_psf((N, N), size, size * rng.uniform(0.5, 1), rng.uniform(0, 180))
        peak = np.exp(rng.uniform(np.log(5e-6), np.log(5e-5)))
        sky += (peak * np.roll(blob, rng.integers(-60, 61, 2), axis=(0, 1))).astype(np.float32)
    how = {"cell": grid.cell, "ra": grid.ra, "dec": grid.dec}
    if product == "noise":
        rms /= UNIT_BEAM
        seen = sky + rms * rng.standard_normal((N, N))
        return RadioImage.from_array(seen.astype(np.float32), unit="Jy/arcsec2", **how), sky, rms
    truth = at_resolution(sky * telescope.pb * grid.cell**2, beam, grid.cell)
    seed = np.random.SeedSequence([79, seed])
    seen = (
        telescope.dirty(sky, rms, seed)
        if product == "dirty"
        else truth + telescope.dirty(np.zeros_like(sky), rms, seed)
    )
    return RadioImage.from_array(seen, unit="Jy/beam", beam=beam, **how), truth, rms


@cache
def denoised(model, seed, sources=True):
    image, truth, rms = field(MODELS[model].settings["product"], seed, sources)
    found = denoise(image, model=model, device="cpu").found
    made = found.image if found.seen is None else found.seen
    return image.data / rms, made / rms, truth / rms


def test_errors_are_smaller_than_those_of_the_image(model):
    errors = []
    for seed in range(3):
        image, made, truth = denoised(model, seed)
        faint = (truth > 0.5) & (truth < 5)
        errors.append([np.square(v - truth)[faint].sum() for v in (made, image)])
    ours, theirs = np.sum(errors, axis=0)
    assert ours < 0.5 * theirs


def test_blobs_are_as_bright_as_they_are(model):
    sums = [
        [v[truth > 3].sum() for v in (made, truth)]
        for _, made, truth in (denoised(model, i) for i in range(3))
    ]
    ours, true = np.sum(sums, axis=0)
    assert 0.6 < ours / true < 1.5


def test_less_than_half_is_left_of_what_a_gaussian_leaves_of_noise(model):
    image, made, _ = denoised(model, 10, sources=False)
    left = [np.sqrt(np.mean(np.square(v))) for v in (made, gaussian_filter(image, 3.0))]
    assert left[0] < 0.5 * left[1]


def test_what_of_a_real_image_is_unlike_the_training_is_said_before_the_run(model, request, tmp_path, capsys):
    path = request.path.parents[1] / "data" / "lofar_hba_grb201006a.fits.gz"
    assert main(["denoise", str(path), "--model", model, "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().err
    assert said.index("note: trained on pixels of 2 arcsec, here they have 5") < said.index("network")
    assert ("of them has a beam" in said) == (MODELS[model].settings["product"] == "noise")
    assert (tmp_path / "out" / "denoised.fits").is_file()

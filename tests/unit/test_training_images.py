"""What the denoiser is trained on: noise, target and psf as they are said to be."""

import numpy as np
import pytest
import torch

from faintsky.networks import make_network
from faintsky.observing.beam_fit import fit_beam
from faintsky.observing.psf_library import SIZE, PsfLibrary, make_library
from faintsky.training import diffuse_images
from faintsky.training.diffuse_images import DiffuseImages


@pytest.fixture(scope="module")
def library():
    return make_library(4, seed=1)


@pytest.fixture
def task(library):
    return DiffuseImages(make_network("local_unet", widths=(8, 12, 16)), library, tile=SIZE)


def only(monkeypatch, **settings):
    """Examples of one kind, on an empty sky unless said otherwise."""
    plain = {
        "WHITE_SHARE": 0.0, "BLANK_SHARE": 0.0, "UNEVEN_SHARE": 0.0, "CLEANED_SHARE": 0.0,
        "_draw": lambda rng, cell: np.zeros((SIZE, SIZE), dtype=np.float32),
    }  # fmt: skip
    for name, value in {**plain, **settings}.items():
        monkeypatch.setattr(diffuse_images, name, value)


def test_library_there_and_back(library, tmp_path):
    library.save(tmp_path / "psfs.npz")
    read = PsfLibrary.load(tmp_path / "psfs.npz")
    np.testing.assert_allclose(read.transfer, library.transfer, rtol=2e-3, atol=1e-7)
    np.testing.assert_array_equal(read.beams, library.beams)
    assert read.record == library.record


def test_library_psfs_have_unit_peak_and_the_beam_they_say(library):
    for transfer, noise, beam in zip(library.transfer, library.noise, library.beams, strict=True):
        psf = np.fft.fftshift(np.fft.irfft2(transfer.astype(float), s=(SIZE, SIZE))) * SIZE**2
        # a cell at the very edge of the plane has its mirror image outside it
        assert psf[SIZE // 2, SIZE // 2] == pytest.approx(1, abs=2e-3)
        np.testing.assert_allclose(fit_beam(psf)[:2], beam[:2], rtol=1e-3)
        assert (noise >= 0).all()


def test_batches_depend_on_the_generator_only(task):
    one, same, other = (task.batch(np.random.default_rng(s), 4) for s in (1, 1, 2))
    assert all(torch.equal(one[k], same[k]) for k in one)
    assert not torch.equal(one["image"], other["image"])
    assert one["image"].shape == (4, 1, SIZE, SIZE)


def test_noise_has_unit_rms_and_the_psf_for_its_correlation(task, library, monkeypatch):
    only(monkeypatch)
    single = PsfLibrary(library.transfer[:1], library.noise[:1], library.beams[:1], library.record[:1])
    task.library = single
    noise = task.batch(np.random.default_rng(0), 48)["image"][:, 0].numpy()
    # an rms map is taken to be wrong by 5 per cent
    assert noise.std() == pytest.approx(1.0, abs=0.03)
    power = (np.abs(np.fft.rfft2(noise)) ** 2).mean(axis=0)
    mirrored = single.noise[0][-np.arange(SIZE)]
    expected = (single.noise[0] + mirrored) / 2
    k = np.hypot(np.fft.fftfreq(SIZE)[:, None], np.fft.rfftfreq(SIZE)[None, :])
    for low, high in ((0.02, 0.05), (0.05, 0.1), (0.1, 0.15)):
        ring = (k > low) & (k < high)
        share, truth = power[ring].sum() / power.sum(), expected[ring].sum() / expected.sum()
        assert share == pytest.approx(truth, rel=0.1, abs=0.01)


def test_white_examples_have_no_beam(task, monkeypatch):
    only(monkeypatch, WHITE_SHARE=1.0)
    batch = task.batch(np.random.default_rng(0), 8)
    assert not batch["beam"].any()
    noise = batch["image"][:, 0].numpy()
    lag = (noise[:, :, 1:] * noise[:, :, :-1]).mean() / noise.var()
    assert abs(lag) < 0.01


def test_the_target_of_a_point_is_the_beam(task, library, monkeypatch):
    sky = np.zeros((SIZE, SIZE), dtype=np.float32)
    sky[120, 130] = 1.0
    only(monkeypatch, _draw=lambda rng, cell: sky)
    batch = task.batch(np.random.default_rng(5), 8)
    for target, beam in zip(batch["target"][:, 0].numpy(), batch["beam"].numpy(), strict=True):
        y, x = np.unravel_index(target.argmax(), target.shape)
        shifted = np.roll(target / target.max(), (SIZE // 2 - y, SIZE // 2 - x), axis=(0, 1))
        major, minor, pa = fit_beam(shifted)
        np.testing.assert_allclose([major, minor], beam[:2], rtol=0.02)
        twice = np.deg2rad(2 * pa)
        np.testing.assert_allclose([np.sin(twice), np.cos(twice)], beam[2:], atol=0.05)


def test_blanks_are_zero_in_everything_and_leave_no_loss(task, monkeypatch):
    only(monkeypatch, BLANK_SHARE=1.0)
    batch = task.batch(np.random.default_rng(0), 4)
    blank = batch["weight"] == 0
    assert 0.02 < float(blank.float().mean()) < 0.9
    assert not batch["image"][blank].any()
    assert not batch["target"][blank].any()

    def half_wrong(image, weight, beam):
        return torch.where(blank, 100.0, batch["target"]), torch.ones_like(image)

    assert float(task.loss(half_wrong, batch)) == pytest.approx(0.0, abs=1e-6)


def test_loss_is_least_at_the_truth_with_honest_sigma(task):
    batch = task.batch(np.random.default_rng(3), 4)
    truth = batch["target"]

    def answer(offset, sigma):
        torch.manual_seed(0)
        error = offset + 0.3 * torch.randn_like(truth)
        return lambda image, weight, beam: (truth + error, torch.full_like(truth, sigma))

    honest = float(task.loss(answer(0.0, 0.3), batch))
    assert honest < float(task.loss(answer(0.2, 0.3), batch))
    assert honest < float(task.loss(answer(0.0, 0.15), batch))
    assert honest < float(task.loss(answer(0.0, 0.6), batch))

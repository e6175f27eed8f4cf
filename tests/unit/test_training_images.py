"""What the denoiser is trained on: noise, target and psf as they are said to be."""

import numpy as np
import pytest
import torch

from faintsky.errors import InputError
from faintsky.networks import make_network
from faintsky.simulating import PSF_SIDE, PsfLibrary, fit_beam, make_library
from faintsky.sky.web import Web, WebBox
from faintsky.source_model import frequencies_2d, gaussian_transform
from faintsky.training import (
    DiffuseImages,
    UNetSettings,
    compact_residues,
    cut_sky,
    deconvolution_errors,
    gain_errors,
    holes,
    importance,
    make_skies,
    open_skies,
    stripes,
)

RANDOM, CLUSTER = WebBox(16, 25.0, 1), WebBox(16, 50.0, 2, 1e15)


@pytest.fixture(scope="module")
def library():
    return make_library(4, seed=1)


def small_network():
    return make_network("local_unet", widths=(8, 12, 16), encoder=(1, 1, 1), decoder=(1, 1))


@pytest.fixture
def task(library):
    return DiffuseImages(small_network(), library, UNetSettings(tile=PSF_SIDE))


def only(monkeypatch, **settings):
    """Examples of one kind, on an empty sky unless said otherwise."""
    plain = {
        "DiffuseImages.white": 0.0, "DiffuseImages.cleaned": 0.0, "DiffuseImages.blank": 0.0,
        "UNEVEN_SHARE": 0.0,
        "DiffuseImages.draw": lambda *given: np.zeros((1, PSF_SIDE, PSF_SIDE), dtype=np.float32),
    }  # fmt: skip
    for name, value in {**plain, **settings}.items():
        name = f"DiffuseImages.{name}" if name in ("white", "cleaned", "draw") else name
        monkeypatch.setattr(f"faintsky.training.diffuse_images.{name}", value)


def test_library_there_and_back(library, tmp_path):
    library.save(tmp_path / "psfs.npz")
    read = PsfLibrary.load(tmp_path / "psfs.npz")
    np.testing.assert_allclose(read.transfer, library.transfer, rtol=2e-3, atol=1e-7)
    np.testing.assert_array_equal(read.beams, library.beams)
    assert read.record == library.record


def test_library_psfs_have_unit_peak_and_the_beam_they_say(library):
    for transfer, noise, beam in zip(library.transfer, library.noise, library.beams, strict=True):
        psf = np.fft.fftshift(np.fft.irfft2(transfer.astype(float), s=(PSF_SIDE, PSF_SIDE))) * PSF_SIDE**2
        # a cell at the very edge of the plane has its mirror image outside it
        assert psf[PSF_SIDE // 2, PSF_SIDE // 2] == pytest.approx(1, abs=2e-3)
        np.testing.assert_allclose(fit_beam(psf)[:2], beam[:2], rtol=1e-3)
        assert (noise >= 0).all()


def test_batches_depend_on_the_generator_only(task):
    one, same, other = (task.batch(np.random.default_rng(s), 4) for s in (1, 1, 2))
    assert all(torch.equal(one[k], same[k]) for k in one)
    assert not torch.equal(one["image"], other["image"])
    assert one["image"].shape == (4, 1, PSF_SIDE, PSF_SIDE)


def test_noise_has_unit_rms_and_the_psf_for_its_correlation(task, library, monkeypatch):
    only(monkeypatch)
    single = PsfLibrary(library.transfer[:1], library.noise[:1], library.beams[:1], library.record[:1])
    task.library = single
    noise = task.batch(np.random.default_rng(0), 48)["image"][:, 0].numpy()
    # an rms map is taken to be wrong by 5 per cent
    assert noise.std() == pytest.approx(1.0, abs=0.03)
    power = (np.abs(np.fft.rfft2(noise)) ** 2).mean(axis=0)
    mirrored = single.noise[0][-np.arange(PSF_SIDE)]
    expected = (single.noise[0] + mirrored) / 2
    k = np.hypot(np.fft.fftfreq(PSF_SIDE)[:, None], np.fft.rfftfreq(PSF_SIDE)[None, :])
    for low, high in ((0.02, 0.05), (0.05, 0.1), (0.1, 0.15)):
        ring = (k > low) & (k < high)
        share, truth = power[ring].sum() / power.sum(), expected[ring].sum() / expected.sum()
        assert share == pytest.approx(truth, rel=0.1, abs=0.01)


def test_white_examples_have_no_beam(task, monkeypatch):
    only(monkeypatch, white=1.0)
    batch = task.batch(np.random.default_rng(0), 8)
    assert not batch["beam"].any()
    noise = batch["image"][:, 0].numpy()
    lag = (noise[:, :, 1:] * noise[:, :, :-1]).mean() / noise.var()
    assert abs(lag) < 0.01


def test_the_target_of_a_point_is_the_beam(task, library, monkeypatch):
    sky = np.zeros((PSF_SIDE, PSF_SIDE), dtype=np.float32)
    sky[120, 130] = 1.0
    only(monkeypatch, draw=lambda *given: sky[None])
    batch = task.batch(np.random.default_rng(5), 8)
    for target, beam in zip(batch["target"][:, 0].numpy(), batch["beam"].numpy(), strict=True):
        y, x = np.unravel_index(target.argmax(), target.shape)
        shifted = np.roll(target / target.max(), (PSF_SIDE // 2 - y, PSF_SIDE // 2 - x), axis=(0, 1))
        major, minor, pa = fit_beam(shifted)
        np.testing.assert_allclose([major, minor], beam[:2], rtol=0.02)
        twice = np.deg2rad(2 * pa)
        np.testing.assert_allclose([np.sin(twice), np.cos(twice)], beam[2:], atol=0.05)


def test_blanks_are_zero_in_everything_and_leave_no_loss(task, monkeypatch):
    only(monkeypatch, **{"DiffuseImages.blank": 1.0})
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


def test_faint_emission_counts_by_the_area_around_it():
    target = torch.zeros(1, 1, 64, 64)
    target[..., 20, 20] = 0.2
    target[..., 40:60, 40:60] = 0.2
    white = torch.zeros(1, 4)
    weight = importance(target, white)[0, 0]
    assert weight[5, 5] == 1
    assert weight[20, 20] == pytest.approx(1 + 15 * 0.2)
    # 8 x 8 pixels of 0.2 have an S/N of 1.6, and pixels without emission stay empty
    assert weight[50, 50] > 1 + 15 * 1.5
    assert weight[22, 22] == weight[39, 39] == 1
    # with a beam, fewer of them are independent, and each counts more
    with_beam = importance(target, torch.tensor([[6.0, 6.0, 0.0, 1.0]]))[0, 0]
    assert (with_beam[50, 50] - 1) / 45 < (weight[50, 50] - 1) / 15 / 2
    assert with_beam[20, 20] == pytest.approx(1 + 45 * 0.2)


def test_deconvolution_errors_are_largest_where_the_psf_sees_least(library):
    sky = np.zeros((PSF_SIDE, PSF_SIDE), dtype=np.float32)
    sky[100:140, 90:150] = 50
    beam = library.transfer[0] * PSF_SIDE**2
    psf = beam.copy()
    missing = np.zeros(beam.shape, bool)
    missing[20:40, 15:40] = True
    psf[missing] = 0
    seen = ~missing & (beam > 0.05 * beam.max())
    errors = np.abs(np.fft.rfft2(deconvolution_errors(np.random.default_rng(0), sky, psf, 1.2 * beam)))
    expected = np.abs(np.fft.rfft2(sky)) * beam
    ratio = [np.sqrt((errors[m] ** 2).sum() / (expected[m] ** 2).sum()) for m in (missing, seen)]
    assert ratio[0] > 3 * ratio[1] > 0


def test_gain_errors_lie_about_sources_and_grow_with_them(library):
    sky = np.zeros((PSF_SIDE, PSF_SIDE), dtype=np.float32)
    sky[128, 128] = 1000
    psf = library.transfer[0] * PSF_SIDE**2
    one, ten = (gain_errors(np.random.default_rng(2), np.fft.rfft2(f * sky), psf, sky.shape) for f in (1, 10))
    np.testing.assert_allclose(ten, 10 * one, atol=1e-3)
    assert 1e-4 < one.std() / 1000 < 0.1
    assert np.abs(one[112:144, 112:144]).mean() > 2 * np.abs(one[:32, :32]).mean()


def test_stripes_are_waves_all_over_the_image():
    image = stripes(np.random.default_rng(5), (256, 256), 4.0)
    power = np.sort(np.abs(np.fft.rfft2(image)).ravel() ** 2)[::-1]
    assert power[:200].sum() > 0.8 * power.sum()  # of 33,000
    assert 0.1 <= image.std() <= 1.5
    quarters = image.reshape(2, 128, 2, 128).std(axis=(1, 3))
    assert quarters.min() > 0.2 * quarters.max()


def test_what_is_left_of_compact_sources_is_spots_and_dipoles():
    area = np.pi / (4 * np.log(2)) * 4.0**2
    beam = area * gaussian_transform(*frequencies_2d(PSF_SIDE, PSF_SIDE), 0.0, 0.0, 4.0, 4.0, 0.0).real
    left = [compact_residues(np.random.default_rng(k), beam, (PSF_SIDE, PSF_SIDE), 4.0) for k in range(40)]
    assert abs(np.mean([v.sum() for v in left])) < 3 * np.std([v.sum() for v in left]) / 40**0.5
    most = np.array([np.abs(v).max() for v in left])
    assert 0.5 < np.median(most) < 30
    assert np.median(np.abs(left)) < 0.05  # most of an image has none


def test_holes_are_negative():
    for k in range(5):
        image = holes(np.random.default_rng(k), (128, 160), 4.0)
        assert image.max() <= 0
        assert -41 < image.min() < -0.01


def test_artefacts_are_not_in_the_target_and_the_beam_may_be_wrong(library, monkeypatch):
    only(monkeypatch)
    plain, spoilt = (
        DiffuseImages(small_network(), library, UNetSettings(tile=PSF_SIDE, **more)).batch(
            np.random.default_rng(3), 2
        )
        for more in ({}, {"artefacts": 1.0, "mismatch": 0.1})
    )
    assert plain["target"].abs().max() == spoilt["target"].abs().max() == 0
    assert spoilt["image"].std() > plain["image"].std()
    assert 0 < (spoilt["beam"][0, :2] / plain["beam"][0, :2]).log().abs().max() < 0.4


def test_skies_of_webs_are_kept_cut_and_held_out(tmp_path, monkeypatch, library):
    drawn = []

    def draw(web, rng, n, cell, kind):
        drawn.append(kind)
        return np.full((n, n), 1e-7 * len(drawn), np.float32)

    monkeypatch.setattr("faintsky.sky.web.open_web", lambda where, progress: Web((RANDOM, CLUSTER)))
    monkeypatch.setattr("faintsky.sky.web.draw_web", draw)
    monkeypatch.setattr("faintsky.training.diffuse_images.FACTOR", (1.0, 1.0))
    make_skies(tmp_path / "skies.npy", "train", 6, 1, size=300)
    assert drawn == ["sky1", "sky2"] * 3
    bank = open_skies(tmp_path / "skies.npy")
    rng = np.random.default_rng(0)
    seen = {round(float(cut_sky(bank, rng, PSF_SIDE)[0, 0]) * 1e7, 2) for _ in range(60)}
    assert seen == {1, 2, 3, 4, 5}
    assert cut_sky(bank, rng, PSF_SIDE, held=True) == pytest.approx(6e-7, rel=1e-3)
    task = DiffuseImages(small_network(), library, UNetSettings(tile=64, errors=1.0), bank)
    monkeypatch.setattr("faintsky.training.diffuse_images.WEB_SHARE", 1.0)
    assert task.batch(rng, 4)["image"].shape == (4, 1, 64, 64)
    (tmp_path / "skies.npy").write_bytes(b"other")
    with pytest.raises(InputError, match="bank of skies"):
        open_skies(tmp_path / "skies.npy")

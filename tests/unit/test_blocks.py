"""Blocks: every pixel is written once, and cutting and re-assembling changes nothing."""

import importlib
import pkgutil
from functools import partial

import numpy as np
import pytest
import torch
from scipy.ndimage import convolve, label

from faintsky.blocks import STEPS, cover, in_blocks, run_step
from faintsky.denoising import (
    TURNS,
    RegionSettings,
    describe_beam,
    predict,
    starlet_transform,
    threshold_starlets,
    thresholded,
    touching,
)
from faintsky.detection import FilterBank, Pursuit
from faintsky.networks import make_network
from faintsky.preparing import (
    Continuum,
    continuum_present,
    find_strong_lines,
    fit_continuum,
    gaussian_psf,
    medians_of_spectra,
    pixels_with_data,
    subtract_continuum,
)

SHAPES = [(1, 1), (5, 9), (16, 16), (31, 64), (64, 33), (100, 47), (17, 200)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("reach", "stride", "largest"), [(0, 1, 16), (3, 1, 20), (5, 4, 32), (16, 16, 64)])
def test_write_regions_tile_the_image(shape, reach, stride, largest):
    blocks = cover(shape, reach=reach, stride=stride, largest=largest)
    written = np.zeros(shape, dtype=int)
    for block in blocks:
        assert all(s % stride == 0 for s in (*block.shape, *block.origin))
        written[block.write] += 1
        for inner, size, first, n in zip(block.inner, block.shape, block.origin, shape):
            assert first >= 0
            assert inner.start >= min(reach, first + inner.start)
            assert size - inner.stop >= min(reach, n - first - inner.stop)
        # one shape that fits, unless the margins alone are wider
        assert max(block.shape) <= max(largest, 2 * -(-reach // stride) * stride + stride)
    assert (written == 1).all()


@pytest.mark.parametrize(("n", "count"), [(96, 1), (97, 2), (160, 2), (161, 3)])
def test_no_more_blocks_than_are_needed(n, count):
    """Margins are at the cuts only."""
    assert len(cover((8, n), reach=16, largest=96)) == count


@pytest.mark.parametrize("shape", SHAPES)
def test_cut_and_put_together_is_the_same(shape):
    """A convolution that reaches 5 pixels, and labels of what comes out."""
    rng = np.random.default_rng(1)
    image, other = rng.normal(size=shape), rng.normal(size=shape)
    kernel = rng.normal(size=(11, 7))

    def operation(a, b):
        return [convolve(a, kernel, mode="constant"), a * b]

    whole = operation(image, other)
    for largest in (16, 24, 40):
        blocks = cover(shape, reach=5, stride=2, largest=largest)
        pieces = in_blocks(operation, [image, other], blocks)
        for a, b in zip(whole, pieces):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(label(whole[0] > 3)[0], label(pieces[0] > 3)[0])


def test_a_margin_too_small_is_seen():
    """The test above would notice: with a reach of 2 the same convolution differs at the cuts."""
    image = np.random.default_rng(1).normal(size=(40, 40))
    kernel = np.ones((11, 7))
    blocks = cover(image.shape, reach=2, largest=16)
    (got,) = in_blocks(lambda a: [convolve(a, kernel, mode="constant")], [image], blocks)
    assert np.abs(got - convolve(image, kernel, mode="constant")).max() > 1


# ---------------------------------------------------------------------- steps of detect and denoise

for room in ("preparing", "denoising", "detection"):
    for file in pkgutil.iter_modules(importlib.import_module(f"faintsky.{room}").__path__):
        importlib.import_module(f"faintsky.{room}.{file.name}")

RNG = np.random.default_rng(4)
CUBE, IMAGE, USED = RNG.normal(size=(16, 60, 70)), RNG.normal(size=(70, 80)), RNG.random((70, 80)) > 0.1
CUBE, IMAGE = CUBE.astype(np.float32), IMAGE.astype(np.float32)
CUBE[5:8, 20:30, 20:50] += 8
SIGMA = np.ones(16)
REGIONS = RegionSettings(smooth=1.4, seed=(2.0, 0.5), grow=(1.0, 0.2), cap=3.0, faint=(0.2, 0.03))


def as_step(declared, function):
    """A function of arrays that is run as a step of other things is."""
    function.step = declared.step
    return function


def fitted(cube):
    fit = fit_continuum(torch.as_tensor(cube), SIGMA)
    return fit.level, fit.slope, fit.level_err


def present(level, valid, beam_pixels):
    return continuum_present(
        Continuum(level, 0 * level, 0.0, np.ones_like(level)), valid.astype(bool), beam_pixels
    )


def subtracted(cube, level):
    return subtract_continuum(cube, Continuum(level, level, 7.5, level), level > -9, SIGMA)


def framed(cube, frame):
    """A cube that is blank within so many pixels of its border, where the filters' padding ends."""
    out = np.zeros_like(cube)
    out[:, frame:-frame, frame:-frame] = cube[:, frame:-frame, frame:-frame]
    return out


def filtered(cube, usable, psf, beam_pixels, sky_sizes):
    bank = FilterBank(torch.as_tensor(cube), usable, psf, beam_pixels, sky_sizes=sky_sizes)
    return bank.sky.numpy()


CASES = {
    "preparing.pixels_with_data": (pixels_with_data, [np.where(USED, IMAGE, 0).round()]),
    "preparing.medians_of_spectra": (medians_of_spectra, [CUBE]),
    "preparing.find_strong_lines": (
        as_step(find_strong_lines, lambda cube: find_strong_lines(torch.as_tensor(cube)).numpy()),
        [CUBE],
    ),
    "preparing.fit_continuum": (as_step(fit_continuum, fitted), [CUBE]),
    "preparing.continuum_present": (as_step(continuum_present, present), [1.25 * IMAGE, USED], 1.5),
    "preparing.subtract_continuum": (as_step(subtract_continuum, subtracted), [CUBE, CUBE[0]]),
    "detection.FilterBank": (
        as_step(FilterBank, filtered),
        [framed(CUBE, 8)], SIGMA > 0, gaussian_psf((33, 33), 4, 3, 20), 3.5, (0.0, 0.65, 1.2),
    ),
    "denoising.starlet_transform": (starlet_transform, [IMAGE], 3),
    "denoising.threshold_starlets": (
        partial(threshold_starlets, scales=2, iterations=2),
        [IMAGE, USED], None,
    ),
    "denoising.thresholded": (thresholded, [IMAGE, np.ones_like(IMAGE), USED], REGIONS, 12.0),
    "denoising.touching": (touching, [IMAGE > 0.3]),
}  # fmt: skip


def test_every_step_says_how_it_runs_in_blocks():
    """All that have a reach or merge are run below; `predict` cuts its own blocks, and has its own test."""
    in_blocks_now = {name for name, s in STEPS.items() if s.reach is not None or s.merge is not None}
    assert in_blocks_now == {*CASES, "denoising.predict"}
    assert len(STEPS) > 2 * len(CASES)
    with pytest.raises(ValueError, match="strongest source"):
        run_step(Pursuit, [IMAGE])


@pytest.mark.parametrize("name", CASES)
def test_two_by_two_blocks_are_the_whole(name):
    function, images, *arguments = CASES[name]
    options = getattr(function, "keywords", {})
    function = getattr(function, "func", function)
    said, n = STEPS[name], max(images[0].shape[-2:])
    reach = said.reach(*arguments, **options) if callable(said.reach) else said.reach or 0
    largest = n // 2 + reach
    assert len(cover(images[0].shape[-2:], reach=reach, largest=largest)) == 4
    whole = function(*images, *arguments, **options)
    pieces = run_step(function, images, *arguments, largest=largest, **options)
    for a, b in zip(*((w,) if isinstance(w, np.ndarray) else w for w in (whole, pieces)), strict=True):
        assert a.any()
        # the filters' transforms end at the finest wave, and so ring
        room = (1e-4 if name == "detection.FilterBank" else 1e-5) * np.abs(a).max()
        np.testing.assert_allclose(b, a, rtol=1e-5, atol=room, equal_nan=True)


def test_labels_merge_over_many_cuts():
    """Regions that wind through many blocks, numbered as the whole image's are."""
    for mask in (
        IMAGE > 0.2,
        IMAGE > 1.5,
        IMAGE > 9,
        IMAGE > -9,
        np.indices(IMAGE.shape).sum(axis=0) % 7 == 0,
    ):
        labels = run_step(touching, [mask], largest=9)
        np.testing.assert_array_equal(labels, touching(mask))


# ---------------------------------------------------------------------- a network in blocks


@pytest.fixture(scope="module")
def network():
    """A small U-Net with weights of some size everywhere."""
    torch.manual_seed(3)
    net = make_network("local_unet", widths=(8, 8, 8), encoder=(1, 1, 1), decoder=(1, 1)).eval()
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape) / max(p[0].numel(), 9) ** 0.5)
    return net


def field(shape, seed=2):
    rng = np.random.default_rng(seed)
    image = rng.normal(size=shape).astype(np.float32)
    weight = rng.uniform(0.5, 1.5, size=shape).astype(np.float32)
    weight[: shape[0] // 5] = image[: shape[0] // 5] = 0
    return image, weight


@pytest.mark.parametrize(("shape", "count"), [((40, 56), 1), ((560, 600), 4), ((33, 1200), 19)])
@pytest.mark.parametrize("members", [1, 3])
def test_tiled_prediction_is_the_whole_one(network, shape, count, members):
    image, weight = field(shape)
    beam = (5.0, 3.0, 25.0)
    whole = predict(network, image, weight, beam, members=members, largest=4096)
    small = 2 * 16 * -(-network.reach // 16) + 64
    tiled = predict(network, image, weight, beam, members=members, largest=small)
    assert len(cover(shape, reach=network.reach, stride=16, largest=small)) == count
    for a, b in zip(whole, tiled):
        assert a.std() > 1e-3
        assert np.abs(a).max() < 1e3
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-5 * np.abs(a).max())
    np.testing.assert_array_equal(label(whole[0] > 0)[0] > 0, label(tiled[0] > 0)[0] > 0)


class Lopsided(torch.nn.Module):
    """Keeps what its beam's major axis points along, shifted by one pixel to the right."""

    reach, stride = 4, 1

    def forward(self, image, weight, beam):
        major, _, sine, cosine = beam[0]
        pa = 0.5 * torch.atan2(sine, cosine)
        dx, dy = -torch.sin(pa), torch.cos(pa)
        at = torch.arange(-4.0, 5.0)
        across = dy * at[None, :] - dx * at[:, None]
        kernel = torch.exp(-(across**2) - (dx * at[None, :] + dy * at[:, None]) ** 2 / major)
        kernel = kernel + 0.3 * (at[None, :] == 1) * (at[:, None] == 0)
        mean = torch.nn.functional.conv2d(image, kernel[None, None].to(image), padding=4)
        return mean, torch.ones_like(mean)


@pytest.mark.parametrize("pa", [0.0, 25.0, 90.0, 140.0])
def test_members_turn_the_beam_with_the_image(pa):
    """All eight see the beam lie as it does in the image: a point becomes a spot of that orientation."""
    point = np.zeros((41, 41), dtype=np.float32)
    point[20, 20] = 1
    beam = (9.0, 1.0, pa)
    one, _ = predict(Lopsided(), point, np.ones_like(point), beam)
    many, sigma = predict(Lopsided(), point, np.ones_like(point), beam, members=8)
    y, x = np.indices(point.shape) - 20

    def orientation(image):
        xx, xy, yy = ((m * image).sum() for m in (x * x, x * y, y * y))
        return np.rad2deg(0.5 * np.arctan2(-2 * xy, yy - xx)) % 180

    symmetric = 0.5 * (one + one[::-1, ::-1])
    difference = (orientation(many) - orientation(symmetric) + 90) % 180 - 90
    assert abs(difference) < 2
    assert abs((orientation(many) - pa + 90) % 180 - 90) < 3
    # where the members differ, that counts as uncertainty: the shift goes four ways
    assert sigma[20, 21] > 1.005
    assert sigma[5, 5] == pytest.approx(1.0, abs=1e-6)
    assert len(set(TURNS)) == 8


def test_beams_are_described_as_networks_take_them():
    np.testing.assert_allclose(describe_beam((5, 3, 45.0)), [5, 3, 1, 0], atol=1e-6)
    np.testing.assert_array_equal(describe_beam(None), np.zeros(4))

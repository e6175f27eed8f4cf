"""Blocks: every pixel is written once, and cutting and re-assembling changes nothing."""

import numpy as np
import pytest
import torch
from scipy.ndimage import convolve, label

from faintsky.blocks import cover, in_blocks
from faintsky.denoising import (
    TURNS,
    describe_beam,
    predict,
)
from faintsky.networks import make_network

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

"""What the networks of DeepFocus see: [0, 1], standardised, cropped; blanks and constants included."""

import numpy as np
import pytest
import torch

from faintsky.published.deepfocus.networks import (
    crop_centre,
    crop_origin,
    flux_of,
    flux_target,
    shape_of,
    shape_targets,
    standardise,
    unit_range,
    unit_range_1d,
)


def test_unit_range_is_per_image():
    images = torch.as_tensor(
        np.random.default_rng(0).normal(size=(3, 1, 8, 9)) * [[[[1]]], [[[10]]], [[[0]]]]
    )
    scaled = unit_range(images)
    assert scaled.amax((1, 2, 3)).tolist() == [1, 1, 0]
    assert scaled.amin((1, 2, 3)).tolist() == [0, 0, 0]
    first = images[0, 0]
    expected = (first - first.min()) / (first.max() - first.min())
    torch.testing.assert_close(scaled[0, 0], expected.float())


def test_blanks_count_as_zero():
    image = torch.tensor([[np.nan, -1.0], [3.0, 0.0]])
    assert unit_range(image).tolist() == [[0.25, 0.0], [1.0, 0.25]]
    assert unit_range(torch.full((2, 2), np.nan)).tolist() == [[0, 0], [0, 0]]


def test_spectra():
    spectra = torch.as_tensor(np.random.default_rng(1).normal(5, 3, (2, 128)))
    out = standardise(spectra)
    torch.testing.assert_close(out.mean(-1), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.std(-1, correction=0), torch.ones(2))
    assert standardise(torch.full((4,), 7.0)).tolist() == [0] * 4
    assert unit_range_1d(torch.tensor([[1.0, 3.0, 2.0]])).tolist() == [[0, 1, 0.5]]


@pytest.mark.parametrize(("n", "size"), [(9, 4), (10, 5), (4, 9), (5, 5)])
def test_the_crop_keeps_the_middle(n, size):
    image = torch.zeros(n, n + 1)
    image[n // 2, (n + 1) // 2] = 1
    cut = crop_centre(image, size)
    assert cut.shape == (size, size)
    assert cut[size // 2, size // 2] == 1
    assert cut.sum() == 1
    assert crop_origin(n, size) + size // 2 == n // 2


@pytest.mark.parametrize("degrees", [False, True])
def test_shapes_come_back_from_their_targets(degrees):
    rng = np.random.default_rng(2)
    maj, minor, pa = rng.uniform(9, 18, 50), rng.uniform(3, 9, 50), rng.uniform(0, 180, 50)
    targets = shape_targets(maj, minor, pa, degrees)
    back = shape_of(targets[:, 0], targets[:, 1], targets[:, 2:])
    np.testing.assert_allclose(back, [maj, minor, pa], rtol=1e-6)


def test_fluxes_come_back_from_their_targets():
    np.testing.assert_allclose(flux_of(flux_target([0.3, 2.0], 1e-3), 1e-3), [0.3, 2.0])
    assert flux_of([-0.1], 1e-3) == 0

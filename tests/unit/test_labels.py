"""Labels grown over joined emission, against the same in plain passes over the cube."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, label
from skimage.segmentation import watershed

from faintsky.detection.objects import Restored, grown
from faintsky.detection.pursuit import Residual


def plainly(labels, restored, sigma, valid):
    """Threshold, connected groups and watershed of the whole cube at once."""
    usable = sigma > 0
    smooth = restored * np.where(usable, 1 / np.where(usable, sigma, 1), 0)[:, None, None]
    smooth[1:-1] = (smooth[:-2] + smooth[1:-1] + smooth[2:]) / np.sqrt(3)
    bright = (smooth > 5) & (restored > 0.01 * restored.max()) & valid & usable[:, None, None]
    joined, _ = label(bright | (labels > 0))
    keep = np.isin(joined, np.unique(joined[labels > 0])) & (bright | (labels > 0))
    return watershed(-restored, markers=labels, mask=keep)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_grown(seed):
    rng = np.random.default_rng(seed)
    cube = np.zeros((20, 50, 60))
    places = rng.integers((2, 4, 4), (18, 46, 56), (12, 3))
    cube[tuple(places.T)] = rng.uniform(300, 3000, 12)
    cube = gaussian_filter(cube, (1.5, 3, 3)) + rng.normal(size=cube.shape)
    sigma = rng.uniform(0.8, 1.2, 20)
    sigma[[0, 9]] = 0
    cube[sigma == 0] = 0
    valid = np.ones(cube.shape[1:], dtype=bool)
    valid[:6, :20] = False
    labels = np.zeros(cube.shape, dtype=np.int32)
    for number, (z, y, x) in enumerate(places[:8], start=1):
        labels[z, y - 1 : y + 2, x - 1 : x + 2] = number
    want = plainly(labels.copy(), cube.astype(np.float32), sigma, valid)
    patch = rng.normal(size=(6, 7)).astype(np.float32)
    cube[4, 10:16, 20:27] -= patch
    restored = Restored(Residual(cube.astype(np.float32)))
    restored.parts[4].append((slice(10, 16), slice(20, 27), patch))
    prepared = SimpleNamespace(line=cube, sigma=sigma, valid=valid)
    got = grown(labels.copy(), restored, prepared)
    assert (want > 0).sum() > 1.5 * (labels > 0).sum()
    np.testing.assert_array_equal(got, want)


def test_nothing_to_add():
    rng = np.random.default_rng(4)
    cube = rng.normal(size=(9, 20, 20)).astype(np.float32)
    prepared = SimpleNamespace(line=cube, sigma=np.ones(9), valid=np.ones((20, 20), dtype=bool))
    labels = np.zeros(cube.shape, dtype=np.int32)
    assert not grown(labels.copy(), Restored(Residual(cube)), prepared).any()
    labels[4, 5:8, 5:8] = 1
    np.testing.assert_array_equal(grown(labels.copy(), Restored(Residual(cube)), prepared), labels)

"""Data and measures of the compact autoencoders, against what can be worked out by hand."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from faintsky.simulating import at_resolution, read_compact
from reproduction.dda_compact import measured, sums_of
from reproduction.dda_data import restore


def test_a_dimmed_answer_is_measured_as_such():
    rng, noise = np.random.default_rng(1), 2e-6
    skies = [gaussian_filter(rng.exponential(1e-5, (64, 64)), 2.0) for _ in range(2)]
    found = measured([sums_of(0.7 * s, s, noise) for s in skies])
    assert found["brightest"] == [0.7]
    assert found["brightest of each"] == [0.7, 0.7]
    assert found["sigma_MRE"] == pytest.approx([0.3])
    inside = np.array(found["pixels"]) > 0
    assert sum(found["pixels"]) == 2 * 64**2
    assert np.array(found["sigma_MRE by snr"])[inside] == pytest.approx(0.3)
    expected = np.sqrt(np.mean([(0.3 * s / noise) ** 2 for s in skies]))
    total = np.sqrt(np.nansum(np.square(found["rms"]) * found["pixels"]) / (2 * 64**2))
    assert total == pytest.approx(expected, rel=1e-3)


def test_restored_images_are_the_sky_with_the_beam(tmp_path):
    from faintsky import simulate_lofar

    how = {"seed": 4, "size": 64, "quick": True, "products": ("compact",)}
    simulate_lofar(tmp_path, 1, noise=False, **how)
    file = tmp_path / "0000_compact.npz"
    restore(tmp_path)
    kept = read_compact(file)
    ideal = at_resolution(
        kept["sky"] * kept["pb"] * np.float32(kept["cell"] ** 2), kept["beam"], kept["cell"]
    )
    assert np.abs(kept["clean"] - ideal).max() < 5e-3 * ideal.max()
    assert np.abs(kept["dirty"] - ideal).max() > 0.05 * ideal.max()
    before = file.read_bytes()
    restore(tmp_path)
    assert file.read_bytes() == before

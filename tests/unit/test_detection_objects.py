"""Noise peaks, thresholds and reliabilities; components that are one source; their labels."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, label
from skimage.segmentation import watershed
from synthetic import telescope

from faintsky.detection import (
    COUNT_FROM,
    LINE_WIDTHS,
    FilterBank,
    LineSource,
    NoisePeaks,
    fit_noise_peaks,
    group_components,
    grown,
    label_mask,
    line_reliability,
    local_peaks,
)
from faintsky.detection.counts import FITTED_GAIN, SIZE_SHARES, WIDTH_SHARES
from faintsky.detection.objects import Restored
from faintsky.detection.pursuit import Component, ResidualCube, SourceImager
from faintsky.preparing import prepare_cube

SCOPE = telescope(96)
BEAM = float(np.sqrt(SCOPE.beam[0] * SCOPE.beam[1]))


@pytest.fixture(scope="module")
def noise_peaks():
    """Peaks of the filtered noise of twelve cubes."""
    peaks = []
    for seed in range(12):
        cube = torch.as_tensor(SCOPE.cube([], 48, sigma=1.0, seed=200 + seed))
        bank = FilterBank(cube, np.ones(48, dtype=bool), SCOPE.psf, BEAM)
        high, low = bank.extremes()
        peaks += [local_peaks(high, (5, 7, 7), COUNT_FROM), local_peaks(-low, (5, 7, 7), COUNT_FROM)]
    return peaks


def test_noise_peaks_follow_the_law(noise_peaks):
    counted = np.concatenate(noise_peaks)
    law = fit_noise_peaks(counted)
    assert law.stretch < 1.1
    for level in (4.2, 4.5, 4.8, 5.1):
        seen, expected = (counted > level).sum(), float(law.above(level))
        # Poisson, and the amplitude's own error; a tenth for the law, which is one of high thresholds
        spread = np.sqrt(expected + expected**2 / counted.size)
        assert abs(seen - expected) < 4 * spread + 0.1 * expected


def test_negative_peaks_foretell_positive_ones(noise_peaks):
    up, down = noise_peaks[::2], noise_peaks[1::2]
    expected = sum(float(fit_noise_peaks(d).above(4.5)) for d in down)
    seen = sum(int((u > 4.5).sum()) for u in up)
    assert abs(seen - expected) < 4 * np.sqrt(2 * expected)


def test_few_peaks_still_give_an_amplitude():
    law = fit_noise_peaks(np.array([3.0, 4.0, 4.5]))
    assert law.stretch == 1
    assert float(law.above(COUNT_FROM)) == pytest.approx(2)
    assert float(fit_noise_peaks(np.array([])).above(COUNT_FROM)) == pytest.approx(0.5)


def draws(stretch, n, seed):
    """S/N of `n` peaks above `COUNT_FROM` drawn from the law."""
    grid = np.linspace(COUNT_FROM, 14, 20_001)
    tail = NoisePeaks(1.0, stretch).above(grid)
    return np.interp(np.random.default_rng(seed).random(n) * tail[0], tail[::-1], grid[::-1])


@pytest.mark.parametrize("stretch", [1.0, 1.3])
def test_stretch_is_recovered(stretch):
    law = fit_noise_peaks(draws(stretch, 2000, 1))
    assert law.stretch == pytest.approx(stretch, abs=0.05)
    assert float(law.above(COUNT_FROM)) == pytest.approx(2000)


def test_density_is_minus_the_derivative():
    law = NoisePeaks(300.0, 1.2)
    s = np.linspace(3.9, 7, 20)
    numeric = (law.above(s - 1e-5) - law.above(s + 1e-5)) / 2e-5
    np.testing.assert_allclose(law.density(s), numeric, rtol=1e-6)


@pytest.mark.parametrize("count", [10.0, 1.0, 0.03])
@pytest.mark.parametrize("stretch", [1.0, 1.4])
def test_threshold_inverts_the_law(count, stretch):
    law = NoisePeaks(3000.0, stretch)
    level = law.threshold(count)
    assert float(law.above(level)) <= count
    assert float(law.above(level - 0.02 * stretch)) > count


N_WIDTHS = len(LINE_WIDTHS)


def noise_templates(n, rng):
    """Templates of noise peaks: as often of each size and width as they are."""
    sizes, widths = (rng.choice(len(p), n, p=p) for p in (SIZE_SHARES, WIDTH_SHARES))
    return sizes * N_WIDTHS + widths


def test_reliabilities_are_probabilities():
    rng = np.random.default_rng(2)
    for _ in range(20):
        snr = (rng.exponential(2, 30) + 3.9) * rng.choice([1, 1, 1, -1], 30)
        kinds, low = rng.integers(0, 5 * N_WIDTHS, 30), rng.exponential(2, 9) + 3.9
        noise = NoisePeaks(rng.uniform(10, 5000), rng.uniform(1, 1.2))
        values = line_reliability(snr, kinds, low, noise, n_widths=N_WIDTHS)
        assert ((values >= 0) & (values <= 1)).all()
    assert line_reliability([], [], [], noise, n_widths=N_WIDTHS).shape == (0,)
    # lowered by the doubt about a bright neighbour
    assert line_reliability([50.0, 0.7], [9, 9], [], noise, n_widths=N_WIDTHS)[1] == 0


@pytest.mark.parametrize(("size", "width"), [(0, 0), (0, 2), (3, 2)])
def test_reliabilities_hold(size, width):
    """Of what is given 0.5 to 0.8 or 0.8 to 0.95, as much is real; and most sources of S/N 6 are found."""
    rng, law = np.random.default_rng(3), NoisePeaks(5000.0)
    given, real, strength = [], [], []
    for seed in range(400):
        noise = draws(1.0, rng.poisson(float(law.above(COUNT_FROM))), seed) * FITTED_GAIN
        noise = noise[noise > 4.9]
        sources = 4 / rng.random(rng.poisson(12))
        sources = (sources + rng.normal(size=len(sources)))[sources < 60]
        sources = sources[sources > 4.9]
        near = rng.choice([-1, 0, 0, 1], (2, len(sources)))
        near = np.clip(np.array([[size], [width]]) + near, 0, [[4], [N_WIDTHS - 1]])
        snr = np.r_[sources, noise]
        kinds = np.r_[near[0] * N_WIDTHS + near[1], noise_templates(len(noise), rng)]
        given.append(line_reliability(snr, kinds, [], law, n_widths=N_WIDTHS))
        real.append(np.arange(len(snr)) < len(sources))
        strength.append(snr)
    given, real, strength = (np.concatenate(v) for v in (given, real, strength))
    for low, high in ((0.5, 0.8), (0.8, 0.95), (0.95, 1.0)):
        its = (given >= low) & (given <= high)
        assert abs(real[its].mean() - given[its].mean()) < 0.1 + 2 / np.sqrt(its.sum())
    assert (given >= 0.9)[real & (strength > 6)].mean() > 0.97


def test_a_shape_like_the_others_is_more_reliable():
    """Where all sources are wide, a wide candidate is told from noise at a lower S/N than a narrow one."""
    narrow, wide = 0, 4
    snr, kinds = [20.0, 15.0, 12.0, 9.0, 8.0, 5.4, 5.4], [wide] * 5 + [wide, narrow]
    values = line_reliability(snr, kinds, [], NoisePeaks(9000.0), n_widths=N_WIDTHS)
    assert values[5] > 0.75
    assert values[6] < 0.2


def test_negative_artefacts_make_positive_ones_doubtful():
    snr, kinds = [20.0, 9.0, 8.5, 8.0], [8] * 4
    law = NoisePeaks(3000.0)
    without = line_reliability(snr, kinds, [], law, n_widths=N_WIDTHS)
    among = line_reliability(snr, kinds, [8.2, 8.6, 9.5, 10.0], law, n_widths=N_WIDTHS)
    assert without.min() > 0.99
    assert among[0] > 0.99
    assert among[1:].max() < 0.5


def test_local_peaks():
    values = torch.zeros((9, 20, 20))
    values[4, 10, 10], values[4, 11, 10], values[0, 0, 0], values[8, 19, 19] = 7.0, 6.0, 5.0, 3.0
    np.testing.assert_allclose(local_peaks(values, (5, 3, 3), 4.0), [5, 7])
    assert local_peaks(values, (5, 3, 3), 10.0).size == 0


# ---------------------------------------------------------------------- labels and groups


def component(x, y, z, amplitude=0.02, sigma=2.0, width=5.0, snr=30.0):
    s = LineSource(amplitude, x, y, sigma, 0.0, sigma, z, width, np.zeros((8, 8)), 0.5, snr)
    image = SourceImager(SCOPE.psf[None], (96, 96)).image(s)
    return Component(s, image, torch.zeros(1), torch.zeros(1), torch.zeros(1), snr)


@pytest.fixture(scope="module")
def prepared():
    cube = SCOPE.cube([], 24, seed=3)
    cube[:, :10] = np.nan
    cube[8] = np.nan
    return prepare_cube(SCOPE.radio_cube(cube))


def test_labels_of_two_sources(prepared):
    components = [component(30.4, 40.2, 9.0), component(60.0, 60.0, 15.2), component(63, 60, 15.2)]
    labels = label_mask(components, [[1, 2], [0]], prepared, ResidualCube(np.zeros_like(prepared.line)))
    assert labels.dtype == np.int32
    assert labels[9, 40, 30] == 2
    assert labels[15, 60, 60] == labels[15, 60, 63] == 1
    assert set(np.unique(labels)) == {0, 1, 2}
    assert not labels[8].any()
    # an ellipse about each centre, no further than its model reaches
    _, y, x = np.nonzero(labels == 2)
    assert np.hypot(x - 30.4, y - 40.2).max() < 12
    assert abs(np.average(x) - 30.4) < 0.5


def test_a_voxel_goes_to_the_brighter_source(prepared):
    labels = label_mask(
        [component(40, 50, 12, 0.04), component(46, 50, 12, 0.02)],
        [[0], [1]],
        prepared,
        ResidualCube(np.zeros_like(prepared.line)),
    )
    assert labels[12, 50, 40] == 1
    assert labels[12, 50, 46] in (1, 2)
    assert (labels == 2).any()


def test_no_label_on_blanks(prepared):
    labels = label_mask(
        [component(40, 11, 12, 0.05)], [[0]], prepared, ResidualCube(np.zeros_like(prepared.line))
    )
    assert (labels == 1).any()
    assert not labels[:, :10].any()


def test_a_faint_source_has_a_label_too(prepared):
    labels = label_mask(
        [component(40, 50, 12, 1e-4)], [[0]], prepared, ResidualCube(np.zeros_like(prepared.line))
    )
    assert labels[12, 50, 40] == 1


def test_groups():
    near, same, apart = component(44, 50, 12), component(46, 50, 12.5), component(70, 50, 12)
    negative = component(45, 50, 12, amplitude=-0.02)
    later = component(44, 50, 20)
    assert group_components([near, same, apart], BEAM) == [[0, 1], [2]]
    assert group_components([near, negative], BEAM) == [[0], [1]]
    assert group_components([near, later], BEAM) == [[0], [1]]
    assert group_components([], BEAM) == []


def test_horns_on_one_continuum_are_one_source():
    horns = [component(40, 50, 8), component(52, 50, 12)]
    assert group_components(horns, BEAM) == [[0], [1]]
    assert group_components(horns, BEAM, hosts=[3, 3]) == [[0, 1]]
    assert group_components(horns, BEAM, hosts=[3, 4]) == [[0], [1]]
    assert group_components(horns, BEAM, homes=[3, 4], hosts=[None, None]) == [[0], [1]]
    # two lines of one galaxy do not meet along frequency
    assert group_components([component(40, 50, 6), component(40, 50, 18)], BEAM, hosts=[3, 3]) == [[0], [1]]


@pytest.mark.parametrize(
    ("where", "amplitude", "one"),
    [
        ((46, 50, 13), 0.02, True), ((46, 50, 13), 0.01, True), ((46, 50, 13), 0.005, False),
        ((46, 50, 13), -0.02, False), ((40.5, 50, 13), 0.02, False), ((56, 50, 13), 0.02, False),
        ((46, 50, 16), 0.02, False),
    ],
)  # fmt: skip
def test_sides_of_a_disc_are_one_source(where, amplitude, one):
    """Beside each other on the sky and along frequency, and alike."""
    sides = [component(40, 50, 8), component(*where, amplitude=amplitude)]
    assert (group_components(sides, BEAM) == [[0, 1]]) == one


# ---------------------------------------------------------------------- labels grown over joined emission


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
    restored = Restored(ResidualCube(cube.astype(np.float32)))
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
    assert not grown(labels.copy(), Restored(ResidualCube(cube)), prepared).any()
    labels[4, 5:8, 5:8] = 1
    np.testing.assert_array_equal(grown(labels.copy(), Restored(ResidualCube(cube)), prepared), labels)

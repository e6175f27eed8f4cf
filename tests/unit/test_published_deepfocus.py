"""What DeepFocus' networks see, lines, S/N and every rule of Fig. 14 of Delli Veneri et al. (2022).

Each on a case made for it; blanks and constants included.
"""

import numpy as np
import pytest
import torch

from faintsky.cutouts import integrated
from faintsky.grid import FWHM_PER_SIGMA
from faintsky.published.deepfocus import (
    crop_centre,
    crop_slices,
    flux_of,
    flux_target,
    shape_of,
    shape_targets,
    standardise,
    unit_range,
    unit_range_1d,
)
from faintsky.published.deepfocus.blobs import Blob, find_blobs, peak_blobs
from faintsky.published.deepfocus.finding import (
    CONDITION_1,
    CONDITION_2,
    FAINT,
    NEIGHBOUR,
    NO_LINE,
    SAME_PLACE,
    TWICE,
    FindingSettings,
    Focus,
    Line,
    Patch,
    Tally,
    around,
    continuum_of,
    find_lines,
    focused_patch,
    global_snr,
    grow,
    last_cuts,
)

CHANNELS, SIDE, NOISE = 64, 90, 1.0
BOX = (33, 57, 33, 57)  # 25 pixels about (45, 45)
SETTINGS = FindingSettings(bright=20.0, faint=5.0)


def gauss(n, middle, fwhm):
    return np.exp(-0.5 * ((np.arange(n) - middle) * FWHM_PER_SIGMA / fwhm) ** 2)


def emitter(y, x, z, peak, size=8.0, fwhm_z=6.0):
    image = np.outer(gauss(SIDE, y, size), gauss(SIDE, x, size))
    return peak * gauss(CHANNELS, z, fwhm_z)[:, None, None] * image


def cube_of(*sources, continuum=0.0, seed=0, noise=NOISE):
    cube = noise * np.random.default_rng(seed).normal(size=(CHANNELS, SIDE, SIDE))
    cube += continuum * np.outer(gauss(SIDE, 45, 8), gauss(SIDE, 45, 8))
    return (cube + sum(sources)).astype(np.float32)


def judged(cube, lines, box=BOX, settings=SETTINGS, last=True):
    tally = Tally()
    blob = Blob(box, (box[0] + box[1]) / 2, (box[2] + box[3]) / 2, 0.9)
    sources = Focus(cube, integrated(cube), settings).sources_of(blob, lines, tally)
    return (last_cuts(sources, settings, tally) if last else sources), tally


def rules_of(tally):
    return [r[0] for r in tally.removed]


# ---------------------------------------------------------------------- steps i and ii


def test_blobs_have_boxes_and_centres_weighted_by_the_map():
    picture = np.zeros((20, 24), dtype=np.float32)
    picture[4:7, 10:12] = [[0.2, 0.2], [0.2, 0.8], [0.2, 0.2]]
    picture[15, 3] = 0.16
    picture[18, 20] = 0.14
    first, second = find_blobs(picture, 0.15)
    assert first.box == (10, 11, 4, 6)
    assert first.x == pytest.approx((10 * 0.6 + 11 * 1.2) / 1.8)
    assert first.peak == pytest.approx(0.8)
    assert second.box == (3, 3, 15, 15)


def test_a_blobs_least_peak_is_not_where_its_box_ends():
    picture = np.outer(gauss(40, 20, 8), gauss(40, 20, 8)).astype(np.float32)
    low, both = find_blobs(picture, 0.1), find_blobs(picture, 0.1, 0.5)
    assert low == both
    assert find_blobs(0.4 * picture, 0.1, 0.5) == []


@pytest.mark.parametrize("height", [1.0, 0.1])
def test_a_peaks_box_goes_by_its_own_height(height):
    bright = np.outer(gauss(120, 30, 10), gauss(120, 30, 10))
    faint = np.outer(gauss(120, 80, 10), gauss(120, 90, 6))
    first, second = peak_blobs(bright + 0.3 * height * faint, 0.02, share=1 / 16)
    # a Gaussian is at a sixteenth of its peak one FWHM away
    assert first.box == pytest.approx((20, 40, 20, 40), abs=1)
    assert second.box == pytest.approx((84, 96, 70, 90), abs=1)
    assert (second.x, second.y, second.peak) == pytest.approx((90, 80, 0.3 * height), abs=0.2)
    assert peak_blobs(0.01 * bright, 0.02) == []
    assert peak_blobs(0 * bright, 0.02) == []


def test_two_peaks_are_two_blobs_where_the_map_dips_enough_between_them():
    rows = gauss(60, 30, 8)
    both = np.outer(rows, gauss(90, 37, 10) + 0.8 * gauss(90, 51, 10))
    dip = 1 - both[30, 37:52].min() / 0.8
    first, second = peak_blobs(both, 0.02, dip=0.8 * dip)
    assert (first.rise, second.rise) == pytest.approx((1, dip), abs=0.05)
    assert first.box[1] + 1 == second.box[0]
    (one,) = peak_blobs(both, 0.02, dip=1.2 * dip)
    assert one.box[0] == first.box[0]
    assert one.box[1] == pytest.approx(second.box[1], abs=2)
    # what is lower than the least peak belongs to its neighbour
    assert len(peak_blobs(both, 0.9, dip=0.8 * dip)) == 1


def test_an_empty_map_has_no_blob_but_by_the_papers_code():
    faint = np.full((16, 16), 0.01, dtype=np.float32)
    faint[8, 8] = 0.02
    assert find_blobs(faint, 0.15) == []
    (blob,) = find_blobs(faint, paper_code=True)
    assert blob.box == (7, 9, 7, 9)
    assert find_blobs(np.zeros((16, 16), dtype=np.float32), paper_code=True) == []


def test_lines_are_found_and_fitted_together():
    clean = 0.9 * gauss(128, 50.3, 9) + 0.4 * gauss(128, 63.0, 6) + 0.05 * gauss(128, 100, 6)
    first, second = find_lines(clean)
    assert first.z == pytest.approx(50.3, abs=1e-3)
    assert first.fwhm_z == pytest.approx(9, abs=1e-2)
    assert (second.z, second.fwhm_z) == pytest.approx((63.0, 6.0), abs=1e-2)
    assert first.height > second.height
    assert first.overlaps(second)
    assert not first.overlaps(Line(90, 6, 0.5))


def test_lines_at_the_ends_of_the_band_and_none_at_all():
    (line,) = find_lines(0.8 * gauss(64, 0.0, 8))
    assert line.z == pytest.approx(0.0, abs=0.1)
    assert find_lines(np.zeros(64)) == []
    assert find_lines(np.full(64, 0.05)) == []
    for line in find_lines(np.random.default_rng(1).uniform(0, 1, 64)):
        assert np.isfinite([line.z, line.fwhm_z, line.height]).all()


def test_the_continuum_is_a_straight_line_outside_of_the_lines():
    spectrum = 5 + 0.1 * np.arange(64) + 40 * gauss(64, 30, 6)
    course = continuum_of(spectrum.astype(np.float32), [Line(30, 8, 1)])
    np.testing.assert_allclose(course, 5 + 0.1 * np.arange(64), atol=0.02)
    assert not continuum_of(spectrum, [Line(30, 80, 1)]).any()


# ---------------------------------------------------------------------- S/N


def test_global_snr_is_signal_over_standard_deviation():
    noise = np.random.default_rng(3).normal(size=(200, 61, 61)).astype(np.float32)
    values = [global_snr(Patch(n, 0, 0), (23, 37, 23, 37)) for n in noise]
    # the annulus' own level adds to the error of the flux
    assert np.std(values) == pytest.approx(1.5, abs=0.25)
    assert np.mean(values) == pytest.approx(0, abs=0.4)
    flat = np.where(np.hypot(*(np.indices((61, 61)) - 30)) < 10.7, np.float32(1), np.float32(0))
    expected = np.sqrt((np.hypot(*(np.indices((61, 61)) - 30)) <= 7.5 * np.sqrt(2)).sum())
    snr = np.mean([global_snr(Patch(n + flat, 0, 0), (23, 37, 23, 37)) for n in noise])
    assert snr == pytest.approx(expected, rel=0.05)
    halved = np.mean([global_snr(Patch(n + flat, 0, 0), (23, 37, 23, 37), beam_area=4) for n in noise])
    assert halved == pytest.approx(expected / 2, rel=0.05)


def test_snr_where_there_is_nothing():
    assert global_snr(Patch(np.zeros((20, 20), dtype=np.float32), 0, 0), (5, 9, 5, 9)) == 0
    assert global_snr(Patch(np.full((20, 20), np.nan, dtype=np.float32), 0, 0), (5, 9, 5, 9)) == 0


def test_a_blank_border_does_not_raise_the_snr():
    cube = cube_of(emitter(45, 12, 30, 3.0), seed=5)
    box = (3, 21, 36, 54)
    blank = cube.copy()
    blank[:, :, :6] = np.nan
    with_border = global_snr(focused_patch(blank, 45, 12, 25, 35), box)
    filled = global_snr(focused_patch(np.nan_to_num(blank), 45, 12, 25, 35), box)
    whole = global_snr(focused_patch(cube, 45, 12, 25, 35), box)
    assert with_border == pytest.approx(whole, rel=0.35)
    assert with_border <= filled


def test_growth_links_the_source_and_stops():
    image = cube_of(emitter(40, 50, 30, 8.0, size=10))[27:34].sum(axis=0)
    (x0, x1, y0, y1), x, y = grow(Patch(image, 0, 0), 40, 50)
    assert (x, y) == pytest.approx((50, 40), abs=1)
    assert 8 <= x1 - x0 + 1 <= 24
    assert 8 <= y1 - y0 + 1 <= 24
    assert grow(Patch(image * 2.0**-50, 0, 0), 40, 50)[1:] == pytest.approx((x, y), abs=1e-9)


def test_a_box_at_a_share_of_the_peak():
    image = np.outer(gauss(90, 40, 10), gauss(90, 50, 6)).astype(np.float32)
    box, x, y = around(Patch(image, 100, 200), 140, 250, 0.5)
    assert box == pytest.approx((247, 253, 135, 145), abs=1)
    assert (x, y) == pytest.approx((250, 140), abs=1e-3)
    assert around(Patch(-image, 100, 200), 140, 250, 0.5) == ((250, 250, 140, 140), 250, 140)


# ---------------------------------------------------------------------- Fig. 14


def test_no_line_no_source():
    sources, tally = judged(cube_of(), [])
    assert sources == []
    assert rules_of(tally) == [NO_LINE]


def test_a_bright_one_with_one_line_is_kept_although_focusing_loses():
    # all in the continuum: its line is a bump that adds nothing
    cube = cube_of(continuum=3.0)
    sources, tally = judged(cube, [Line(30, 2, 1)])
    assert tally.removed == []
    assert sources[0].snr < sources[0].snr_integrated
    assert sources[0].snr_integrated > SETTINGS.bright


def test_a_faint_one_is_kept_only_where_focusing_gains():
    cube = cube_of(emitter(45, 45, 30, 2.0))
    (source,), tally = judged(cube, [Line(30, 6, 1)])
    assert source.snr_integrated < SETTINGS.bright
    assert source.snr > source.snr_integrated
    assert tally.removed == []
    sources, tally = judged(cube, [Line(55, 3, 1)])
    assert sources == []
    assert rules_of(tally) == [CONDITION_1]


def test_a_second_peak_elsewhere_becomes_a_source_by_growth():
    cube = cube_of(emitter(40, 40, 20, 8.0), emitter(52, 51, 45, 5.0))
    sources, tally = judged(cube, [Line(20, 6, 1), Line(45, 6, 0.6)])
    assert tally.steps["flagged for deblending"] == 1
    assert tally.steps["split off"] == 1
    assert len(sources) == 2
    new = next(s for s in sources if s.secondary)
    assert (new.x, new.y, new.z) == pytest.approx((51, 52, 45), abs=1)
    assert new.box[0] <= 51 <= new.box[1]
    assert new.box[1] - new.box[0] + 1 <= 20


def test_what_was_split_has_boxes_and_centres_of_its_own():
    cube = cube_of(emitter(40, 38, 20, 8.0), emitter(52, 54, 45, 5.0))
    wide = (26, 66, 28, 64)
    for extract in ("label", "peaks"):
        settings = FindingSettings(bright=20, faint=5, extract=extract)
        sources, _ = judged(cube, [Line(20, 6, 1), Line(45, 6, 0.6)], wide, settings)
        assert [s.secondary for s in sources] == [False, True]
        for s, (x, y) in zip(sources, ((38, 40), (54, 52))):
            assert (s.x, s.y) == pytest.approx((x, y), abs=1)
            assert s.box[1] - s.box[0] < 25
    (alone,), _ = judged(cube, [Line(20, 6, 1)], wide)
    assert alone.box == wide


def test_with_peaks_lines_of_neighbours_are_theirs():
    cube = cube_of(emitter(45, 38, 20, 4.0), emitter(45, 58, 45, 20.0, size=14), continuum=2.0)
    own, other = Blob((30, 50, 37, 53), 38, 45, 0.4), Blob((44, 72, 31, 59), 58, 45, 0.9)
    lines, settings, tally = [Line(45, 6, 1), Line(20, 6, 0.4)], FindingSettings(extract="peaks"), Tally()
    (source,) = Focus(cube, integrated(cube), settings).sources_of(own, lines, tally, [own, other])
    # the neighbour's line is higher, but does not come from the blob's middle
    assert (source.z, source.box) == (20, own.box)
    assert rules_of(tally) == [NEIGHBOUR]


def test_a_second_peak_within_three_pixels_at_another_frequency_is_no_source():
    cube = cube_of(emitter(45, 45, 20, 8.0), emitter(47, 46, 45, 5.0), noise=0.05)
    sources, tally = judged(cube, [Line(20, 6, 1), Line(45, 6, 0.6)])
    assert len(sources) == 1
    assert rules_of(tally) == [SAME_PLACE]
    # the distance is the user's
    sources, _ = judged(
        cube, [Line(20, 6, 1), Line(45, 6, 0.6)], settings=FindingSettings(bright=20, apart=1)
    )
    assert len(sources) == 2


def test_one_emission_seen_as_two_peaks_is_joined():
    cube = cube_of(emitter(45, 45, 30, 4.0, fwhm_z=16))
    (source,), tally = judged(cube, [Line(26, 5, 1), Line(34, 5, 0.8)])
    assert tally.steps["peaks joined"] == 1
    assert (source.z_min, source.z_max) == (21, 39)
    assert tally.removed == []


def test_a_noise_spike_beside_the_line_is_dropped():
    cube = cube_of(emitter(45, 45, 30, 20.0, fwhm_z=5))
    (source,), tally = judged(cube, [Line(30, 5, 1), Line(38, 6, 0.2)])
    assert rules_of(tally) == [CONDITION_2]
    assert (source.z, source.fwhm_z) == (30, 5)


def test_what_is_too_faint_when_focused_goes_last():
    cube = cube_of(emitter(45, 45, 30, 0.35))
    before, _ = judged(cube, [Line(30, 6, 1)], last=False)
    assert 0 < before[0].snr < SETTINGS.faint
    after, tally = judged(cube, [Line(30, 6, 1)])
    assert after == []
    assert rules_of(tally) == [FAINT]


def test_two_blobs_on_one_source_give_one():
    cube = cube_of(emitter(45, 45, 30, 6.0))
    focus, tally = Focus(cube, integrated(cube), SETTINGS), Tally()
    found = []
    for dx in (0, 2):
        blob = Blob((33 + dx, 57 + dx, 33, 57), 45.0 + dx, 45.0, 0.9)
        found += focus.sources_of(blob, [Line(30, 6, 1)], tally)
    assert len(found) == 2
    assert len(last_cuts(found, SETTINGS, tally)) == 1
    assert rules_of(tally) == [TWICE]


def test_every_candidate_is_accounted_for():
    cube = cube_of(emitter(45, 45, 30, 4.0))
    rng = np.random.default_rng(7)
    tally, found, n_peaks = Tally(), [], 0
    focus = Focus(cube, integrated(cube), SETTINGS)
    for _ in range(20):
        x, y = (int(v) for v in rng.integers(20, 70, 2))
        n = int(rng.integers(0, 4))
        lines = [Line(float(rng.uniform(0, 64)), float(rng.uniform(2, 8)), 1 / (k + 1)) for k in range(n)]
        n_peaks += max(n, 1)
        found += focus.sources_of(Blob((x - 8, x + 8, y - 8, y + 8), x, y, 0.5), lines, tally)
    kept = last_cuts(found, SETTINGS, tally)
    lost = len(tally.removed) + tally.steps["peaks joined"]
    # peaks of a blob that fails condition 1 go with it
    assert len(kept) + lost <= n_peaks
    assert sum(tally.steps[r] for r in set(rules_of(tally))) == len(tally.removed)


# ---------------------------------------------------------------------- what the networks see


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
    inside, seen = crop_slices(image.shape, size)
    assert inside[0].start - seen[0].start + size // 2 == n // 2


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

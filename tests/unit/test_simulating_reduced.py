"""Cut-outs about sources, and the compact data of a simulated cube that networks are trained on."""

import hashlib
import json

import numpy as np
import pytest
from astropy.table import Table

import faintsky
from faintsky.cutouts import (
    box_spectrum,
    channel_range,
    crop,
    focus,
    integrated,
    line_image,
    source_mask,
)
from faintsky.grid import FWHM_PER_SIGMA
from faintsky.simulating import SimulationSettings, open_observatory, simulated

SMALL = {"size": 96, "channels": 32, "cell": "0.2arcsec", "total_time": "200s", "integration": "20s"}


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FAINTSKY_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def ramp():
    return np.arange(4 * 10 * 12, dtype=np.float32).reshape(4, 10, 12)


def test_a_box_includes_both_its_ends_and_what_is_outside_counts_nothing(ramp):
    spectrum = box_spectrum(ramp, (2, 4, 5, 6))
    np.testing.assert_array_equal(spectrum, ramp[:, 5:7, 2:5].sum(axis=(1, 2)))
    np.testing.assert_array_equal(box_spectrum(ramp, (-3, 1, -2, 0)), ramp[:, 0, :2].sum(axis=1))
    assert not box_spectrum(ramp, (-5, -2, 0, 3)).any()


def test_a_crop_has_its_pixel_in_the_middle(ramp):
    part = crop(ramp, 4.4, 5.6, 4)
    np.testing.assert_array_equal(part, ramp[:, 2:6, 4:8])
    corner = crop(ramp, 0, 0, 6)
    np.testing.assert_array_equal(corner[:, 3:, 3:], ramp[:, :3, :3])
    assert not corner[:, :3].any()
    assert not crop(ramp, 100, 100, 6).any()


@pytest.mark.parametrize(
    ("edges", "channels"),
    [((1.2, 3.9), (2, 4)), ((-4, 0.5), (0, 1)), ((5.2, 5.6), (6, 7)), ((9, 99), (7, 8))],
)
def test_channels_between_edges(edges, channels):
    assert channel_range(*edges, 8) == slice(*channels)


def test_blanks_are_zero_but_where_nothing_is_known(ramp):
    ramp[1, 3, 3] = np.nan
    ramp[:, 0, 0] = np.nan
    total = integrated(ramp)
    assert np.isnan(total[0, 0])
    assert np.isfinite(total).sum() == 119
    assert total[3, 3] == np.nansum(ramp[:, 3, 3])
    assert np.isfinite(focus(ramp, 3, 3, 0, 2, 6)).all()


def test_the_mask_is_the_dilated_ellipsoid():
    mask = source_mask((40, 64, 64), 30, 33, 20, 10, 6, 0.0, 4, dilation=1.5)
    volume = 4 / 3 * np.pi * 15 * 9 * 6
    assert mask.sum() == pytest.approx(volume, rel=0.02)
    # position angle 0: the major axis is along y
    assert mask[20, 33 + 14, 30]
    assert not mask[20, 33, 30 + 14]
    assert not mask[20 + 7].any()


def test_the_line_image_has_the_line_and_no_continuum():
    z = np.arange(64)
    y, x = np.mgrid[:64, :64] - 32
    shape = np.exp(-0.5 * (x**2 + y**2) * (FWHM_PER_SIGMA / 8) ** 2).astype(np.float32)
    line = np.exp(-0.5 * ((z - 30) * FWHM_PER_SIGMA / 5) ** 2)
    continuum = 2.0 * (1 + 0.004 * (z - 30))
    cube = (line + continuum)[:, None, None].astype(np.float32) * shape
    mask = source_mask(cube.shape, 32, 32, 30, 8, 8, 0, 5)
    image = line_image(cube, mask, cube[:, 28:37, 28:37].sum(axis=(1, 2)))
    # at the middle all channels of the line are in the mask
    assert image[32, 32] == pytest.approx(line.sum(), rel=0.01)
    flux = line_image(line[:, None, None].astype(np.float32) * shape, mask, line.astype(np.float32)).sum()
    assert image.sum() == pytest.approx(flux, rel=0.01)
    assert not line_image(cube, np.zeros_like(mask), np.ones(64, np.float32)).any()


def test_compact_data_are_those_of_the_cubes(tmp_path):
    faintsky.simulate_alma(tmp_path / "c", 2, seed=3, products="compact", **SMALL)
    assert sorted(p.name for p in (tmp_path / "c").iterdir()) == [
        "0000_compact.npz", "0000_truth.ecsv", "0001_compact.npz", "0001_truth.ecsv", "dataset.json",
    ]  # fmt: skip
    for i, seen in enumerate(simulated("alma", 2, seed=3, **SMALL)):
        data = np.load(tmp_path / "c" / f"{i:04d}_compact.npz")
        truth = Table.read(tmp_path / "c" / f"{i:04d}_truth.ecsv")
        np.testing.assert_allclose(data["dirty"], integrated(seen.dirty), rtol=1e-5, atol=1e-7)
        sky = seen.sky.as_cube()
        np.testing.assert_allclose(data["sky"], sky.sum(axis=0), rtol=1e-4, atol=1e-9)
        assert data["spectra"].shape == (len(truth), 32)
        assert data["focused"].shape == data["line_images"].shape == (len(truth), 64, 64)
        for j, row in enumerate(truth):
            box = tuple(int(row[k]) for k in ("x_min", "x_max", "y_min", "y_max"))
            np.testing.assert_allclose(data["clean_spectra"][j], box_spectrum(sky, box), rtol=1e-4)
            np.testing.assert_allclose(data["spectra"][j], box_spectrum(seen.dirty, box), rtol=1e-5)


@pytest.mark.parametrize("extra_noise", ["correlated", "white"])
def test_integrated_cubes_are_those_of_full_ones(extra_noise):
    settings = SimulationSettings(telescope="alma", preset="paper", extra_noise=extra_noise, **SMALL)
    observatory = open_observatory(settings)
    sky = observatory.draw(np.random.default_rng(3))
    telescope, (z, y, x) = observatory.telescope, (20, 40, 55)
    cube = telescope.dirty(sky)
    clean = cube.sum(dim=0).numpy()
    assert telescope.voxel(sky, z, y, x) == pytest.approx(float(cube[z, y, x]), rel=1e-4)
    np.testing.assert_allclose(telescope.summed(sky, np.ones(32)).numpy(), clean, atol=1e-5 * clean.max())

    def noises(observe):
        """Of 60 observations; the target S/N is drawn alike in each."""
        images = [observe(sky, np.random.default_rng(9), seed) for seed in range(60)]
        return np.array(images) - clean

    full = noises(lambda *given: integrated(observatory.observe(*given).dirty))
    fast = noises(lambda *given: observatory.observe_integrated(*given)[0])
    inside = np.isfinite(fast[0])
    np.testing.assert_array_equal(inside, np.isfinite(full[0]))
    middle = np.s_[:, 24:72, 24:72]
    assert inside[middle[1:]].all()
    # standard errors are 0.004 of the variance of all pixels, 0.02 to 0.05 of a ring's power
    assert fast[middle].var() == pytest.approx(full[middle].var(), rel=0.05)
    power = [np.square(np.abs(np.fft.fft2(v[middle]))).mean(axis=0) for v in (full, fast)]
    f = np.fft.fftfreq(48)
    ring = np.rint(np.hypot(f[:, None], f) * 24).astype(int).ravel()
    rings = [np.bincount(ring, p.ravel())[1:9] / np.bincount(ring)[1:9] for p in power]
    np.testing.assert_allclose(rings[0], rings[1], rtol=0.2)
    true = observatory.observe_integrated(sky, np.random.default_rng(9), 0)[1]
    np.testing.assert_allclose(true, sky.as_cube().sum(axis=0), rtol=1e-4, atol=1e-12)


@pytest.mark.usefixtures("quick_workers")
def test_compact_sets_resume_and_do_not_depend_on_jobs(tmp_path):
    def digests(folder):
        return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.glob("*.npz")}

    faintsky.simulate_alma(tmp_path / "a", 3, seed=5, products="compact", jobs=2, **SMALL)
    before = digests(tmp_path / "a")
    (tmp_path / "a" / "0001_compact.npz").unlink()
    faintsky.simulate_alma(tmp_path / "a", 3, seed=5, products="compact", **SMALL)
    assert digests(tmp_path / "a") == before
    record = json.loads((tmp_path / "a" / "dataset.json").read_text())
    assert record["parameters"]["products"] == ["compact"]
    size = (tmp_path / "a" / "0000_compact.npz").stat().st_size
    plan = faintsky.simulate_alma(tmp_path / "b", 1, products="compact", dry_run=True, **SMALL)
    assert plan["disk_gb"] == pytest.approx(size / 1e9, rel=0.5)


def test_an_empty_sky_has_no_spectra(tmp_path):
    faintsky.simulate_alma(tmp_path / "e", 1, preset="empty", products="compact", **SMALL)
    data = np.load(tmp_path / "e" / "0000_compact.npz")
    assert data["spectra"].shape == (0, 32)
    assert not data["sky"].any()

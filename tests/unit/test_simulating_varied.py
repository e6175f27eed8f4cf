"""The preset ``varied``: its observations, skies, truth and files; rotating discs."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from astropy.io import fits
from astropy.table import Table

import faintsky
from faintsky.catalog import has_flag
from faintsky.errors import InputError
from faintsky.evaluation import SimulatedCubes, open_cubes
from faintsky.grid import FWHM_PER_SIGMA, ImageGrid, SpectralGrid, major_axis_direction
from faintsky.simulating import SimulationSettings, compact, draw_observation, draw_visible, open_observatory
from faintsky.sky import Disc, EmitterField, disc_terms, draw_lines

SMALL = {"size": 64, "channels": 16, "total_time": "200s", "integration": "20s", "weighting": "natural"}
PRODUCTS = "sky,dirty,psf,pb,compact"
GRID, SPECTRAL = ImageGrid(96, 96, 0.1), SpectralGrid.centred(64, 230e9, 10e6)


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FAINTSKY_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def hashes(folder):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(Path(folder).iterdir())}


@pytest.mark.parametrize(("profile", "curve"), [("exponential", "arctan"), ("gaussian", "tanh")])
def test_disc_is_the_sum_over_its_gas(profile, curve):
    """A cube made pixel by pixel, each with a Gaussian line at its own velocity."""
    disc = Disc(50.3, 44.8, 3.0, 65.0, 40.0, 30.5, 9.0, 1.5, 1.3, profile, curve)
    terms = disc_terms(GRID, disc)
    z = np.arange(64.0)
    ours = np.einsum("kyx,kz->zyx", terms.images, terms.lines(z))
    fine = 5
    y, x = (np.indices((96 * fine, 96 * fine)) + 0.5) / fine - 0.5
    ux, uy = major_axis_direction(disc.pa)
    along, across = (x - disc.x) * ux + (y - disc.y) * uy, -(x - disc.x) * uy + (y - disc.y) * ux
    tilt = np.deg2rad(disc.inclination)
    r = np.hypot(along, across / np.sqrt(np.cos(tilt) ** 2 + 0.01 * np.sin(tilt) ** 2))
    light = np.exp(-r / disc.scale) if profile == "exponential" else np.exp(-0.5 * (r / disc.scale) ** 2)
    rise = np.tanh(r / disc.turnover) if curve == "tanh" else 2 / np.pi * np.arctan(r / disc.turnover)
    centre = disc.z + disc.velocity * rise * np.sin(tilt) * along / r
    direct = [
        (light * np.exp(-0.5 * ((c - centre) / disc.dispersion) ** 2)).reshape(96, fine, 96, fine).sum((1, 3))
        for c in z
    ]
    direct = np.array(direct) / np.sum(direct)
    assert np.abs(ours - direct).max() < 0.02 * direct.max()
    assert np.abs(ours.sum((1, 2)) - direct.sum((1, 2))).max() < 0.015 * direct.sum((1, 2)).max()
    assert ours.sum() == pytest.approx(1, abs=2e-3)
    # north-east (up and left) moves to higher channels
    upper = np.indices((96, 96))[0] > disc.y
    assert ours[38][upper].sum() > 5 * ours[38][~upper].sum()


def test_disc_truth_is_what_its_cube_shows():
    disc = Disc(48.0, 48.0, 4.0, 70.0, 120.0, 32.0, 12.0, 1.0, 1.0, "gaussian")
    terms = disc_terms(GRID, disc)
    line = terms.lines(np.arange(64.0)).sum(axis=0)
    assert line[32] < 0.8 * line.max(), "two horns"
    assert terms.peak == pytest.approx(line.max(), rel=0.02)
    half = np.nonzero(line > line.max() / 2)[0]
    assert np.ptp(half) <= terms.fwhm_z <= np.ptp(half) + 2
    assert terms.shape[0] == pytest.approx(4 * FWHM_PER_SIGMA, rel=0.01)
    assert terms.shape[1] == pytest.approx(
        4 * FWHM_PER_SIGMA * np.hypot(np.cos(np.deg2rad(70)), 0.1), rel=0.05
    )
    assert terms.shape[2] == pytest.approx(120, abs=0.5)
    above = disc_terms(GRID, Disc(48.0, 48.0, 4.0, 0.0, 0.0, 32.0, 12.0, 1.0, 1.5))
    assert len(above.images) == 1
    assert above.fwhm_z == pytest.approx(1.5 * FWHM_PER_SIGMA, rel=1e-3)


def test_discs_at_the_edge_lose_only_what_is_outside():
    inside = disc_terms(GRID, Disc(48.0, 48.0, 2.0, 60.0, 0.0, 32.0, 6.0, 1.0, 1.0))
    half = disc_terms(GRID, Disc(-0.5, 48.0, 2.0, 60.0, 0.0, 32.0, 6.0, 1.0, 1.0))
    assert (half.shares @ half.images.sum((1, 2))) == pytest.approx(0.5, abs=0.01)
    assert half.fwhm_z == pytest.approx(inside.fwhm_z)


def field(**changes):
    known = {"reach": np.inf, "beam": 5.0, "noise": 1e-3, "visible": np.ones(64, dtype=bool)} | changes
    return EmitterField(GRID, SPECTRAL, **known)


def test_skies_hold_what_they_should():
    skies = [draw_lines("varied", np.random.default_rng(i), field()) for i in range(150)]
    empty = np.mean([s.n_sources == 0 for s in skies])
    assert 0.03 < empty < 0.25
    rows = {k: np.concatenate([s.sources[k] for s in skies if s.n_sources]) for k in skies[0].sources}
    first = np.isfinite(rows["wanted_snr"])
    wanted = np.log(rows["wanted_snr"][first])
    assert np.log(3) <= wanted.min() < wanted.max() <= np.log(50)
    assert wanted.mean() == pytest.approx(np.log([3, 50]).mean(), abs=0.15)
    for name, low, high in (("rotating", 0.08, 0.25), ("absorbing", 0.04, 0.16), ("bare", 0.3, 0.7)):
        holds = {
            "rotating": rows["rotating"],
            "absorbing": rows["line_flux_peak"] < 0,
            "bare": rows["continuum_flux"] == 0,
        }[name]
        assert low < holds.mean() < high, name
    assert 0.05 < 1 - first.mean() < 0.25, "second lines"
    dark = rows["line_flux_peak"] < 0
    assert (np.abs(rows["line_flux_peak"]) <= rows["continuum_flux"])[dark].all()
    assert any((s.owner == -1).any() for s in skies if s.owner is not None), "continuum without a line"
    separations = []
    for s in skies:
        for i in range(s.n_sources):
            apart = np.hypot(s.sources["x"] - s.sources["x"][i], s.sources["y"] - s.sources["y"][i])
            separations += apart[s.sources["source"] > s.sources["source"][i]].tolist()
    assert (np.array(separations) < 2.5).mean() > 0.01
    assert np.min(separations) < 1


def test_lines_of_one_source_share_its_continuum():
    for seed in range(40):
        sky = draw_lines("varied", np.random.default_rng(seed), field())
        source = sky.sources.get("source", np.zeros(0))
        twice = [
            i
            for i in np.unique(source)
            if (source == i).sum() == 2 and not sky.sources["rotating"][source == i].any()
        ]
        for i in twice:
            one, two = np.nonzero(source == i)[0]
            terms = sky.terms_of(two)
            np.testing.assert_allclose(sky.spectra[terms], sky.lines[terms], atol=1e-12)
            np.testing.assert_array_equal(sky.images[terms], sky.images[sky.terms_of(one)])
            double = sky.scaled(np.full(sky.n_sources, 2.0))
            np.testing.assert_allclose(double.line_of(two), 2 * sky.line_of(two))
            if sky.owner is not None:
                np.testing.assert_array_equal(double.spectra[sky.owner < 0], sky.spectra[sky.owner < 0])
            return
    raise AssertionError("no source with two lines")


def test_observations_are_varied_and_possible():
    settings = SimulationSettings(telescope="alma", preset="varied", cell=0.05, integration=30)
    assert "cell" not in settings.drawn
    assert "integration" not in settings.drawn
    seen = []
    for i in range(60):
        o = draw_observation(np.random.default_rng(i), settings)
        assert o.grid.cell == 0.05
        assert o.integration == 30
        assert o.track().elevation.min() >= np.deg2rad(18)
        assert -70 <= o.grid.dec <= 30
        assert 2e6 <= o.spectral.width <= 60e6
        assert o.spectral.n_chan in (48, 64, 96, 128)
        assert o.grid.n_x in (128, 160, 192, 224, 256, 288, 320, 360)
        assert 85e9 < o.spectral.middle < 375e9
        seen.append(o)
    assert len({o.array.name for o in seen}) == 8
    assert 0.1 < np.mean([o.robust is not None for o in seen]) < 0.6
    assert np.ptp([o.hour_angle for o in seen]) > 2
    again = draw_observation(np.random.default_rng(3), settings)
    assert again.parameters() == seen[3].parameters()


def test_impossible_wishes_say_so():
    settings = SimulationSettings(telescope="alma", preset="varied", dec=80)
    with pytest.raises(InputError, match="elevation"):
        draw_observation(np.random.default_rng(0), settings)


def test_cells_give_pixels_across_the_beam():
    observatory = open_observatory(SimulationSettings(telescope="alma", preset="varied", **SMALL))
    for index in range(4):
        instrument = observatory.at(3, index).instrument
        maj, minor, _ = instrument.beams[8]
        assert 3.2 < np.sqrt(maj * minor) / instrument.grid.cell < 8.6


def test_some_channels_are_blank():
    visible = [draw_visible(np.random.default_rng(i), 64) for i in range(200)]
    lacking = [v for v in visible if not v.all()]
    assert 0.1 < len(lacking) / 200 < 0.3
    assert all(v.sum() > 40 for v in visible)
    assert any(not v[0] for v in lacking)
    assert any(v[0] and v[-1] for v in lacking)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, cache):
    out = tmp_path_factory.mktemp("data") / "set"
    result = faintsky.simulate_alma(out, 4, seed=5, preset="varied", **SMALL, products=PRODUCTS)
    assert result["cubes"] == 4
    return out


def test_files(dataset, cache):
    products = ("dirty.fits", "sky.fits", "psf.fits", "pb.fits", "compact.npz", "truth.ecsv")
    assert set(hashes(dataset)) == {f"{i:04d}_{p}" for i in range(4) for p in products} | {"dataset.json"}
    assert not list(cache.iterdir()), "instruments of varied cubes are not kept"
    record = json.loads((dataset / "dataset.json").read_text())
    assert set(record["parameters"]["drawn"]) >= {"array", "dec", "hour_angle", "freq", "pwv", "cell"}
    arrays, fields = set(), set()
    for i in range(4):
        header = fits.getheader(dataset / f"{i:04d}_dirty.fits")
        made = Table.read(dataset / f"{i:04d}_truth.ecsv").meta["observation"]
        arrays.add(made["array"]["name"])
        fields.add((header["CRVAL1"], header["CRVAL2"], header["CRVAL3"], header["CDELT1"]))
        assert made["total_time"] == 200
        assert made["spectral"]["width"] == header["CDELT3"]
        psf = fits.getdata(dataset / f"{i:04d}_psf.fits")
        assert psf.shape == (16, 64, 64)
        np.testing.assert_allclose(psf[:, 32, 32], 1, atol=1e-5)
    assert len(fields) == 4
    assert len(arrays) > 1


@pytest.mark.usefixtures("quick_workers")
def test_jobs_and_resuming_do_not_matter(dataset, tmp_path):
    (dataset / "0002_psf.fits").unlink()
    faintsky.simulate_alma(dataset, 4, seed=5, preset="varied", products=PRODUCTS, **SMALL)
    faintsky.simulate_alma(tmp_path / "again", 4, seed=5, preset="varied", products=PRODUCTS, jobs=2, **SMALL)
    assert hashes(tmp_path / "again") == hashes(dataset)
    with pytest.raises(InputError, match="another pwv"):
        faintsky.simulate_alma(dataset, 4, seed=5, preset="varied", pwv=1.0, products=PRODUCTS, **SMALL)


def test_evaluation_reads_them(dataset):
    simulated = SimulatedCubes("varied", (0, 1), seed=5, settings=tuple(SMALL.items()))
    for index in (0, 1):
        cube, truth = simulated.load(index)
        other, table = open_cubes(dataset, 2).load(index)
        np.testing.assert_allclose(cube.data, other.data, atol=1e-8)
        np.testing.assert_allclose(cube.psf, other.psf, atol=1e-6)
        assert list(truth["flags"]) == [str(f or "") for f in table["flags"]]
        assert cube.grid.cell == pytest.approx(other.grid.cell)


def wide(**changes):
    known = {"preset": "varied", "size": 96, "channels": 48, "total_time": 600, "integration": 60, "pwv": 1.0}
    fixed = {
        "array": "C-3",
        "ra": 60,
        "dec": -35,
        "hour_angle": 0,
        "freq": "230GHz",
        "channel_width": "10MHz",
    }
    return open_observatory(
        SimulationSettings(
            telescope="alma", **known | fixed | {"weighting": "natural", "cell": 0.15} | changes
        )
    )


def one_with(observatory, holds):
    """A cube with a source of some flag."""
    for index in range(60):
        cube = observatory.sample(1, index)
        if len(cube.truth["id"]) and (found := has_flag(cube.truth["flags"], holds)).any():
            return cube, int(np.nonzero(found)[0][0])
    raise AssertionError(f"no {holds} source")


def test_everything_given_leaves_one_instrument():
    assert wide().instrument is not None


def test_truth_of_a_rotating_disc():
    observatory = wide(noise=False)
    cube, i = one_with(observatory, "rotating")
    truth, sky = cube.truth, cube.sky
    assert cube.truth["snr"][i] == pytest.approx(sky.sources["wanted_snr"][i])
    mine = sky.terms_of(i)
    assert len(mine) > 3
    only = type(sky)(sky.grid, sky.spectral, sky.images[mine], sky.lines[mine], sky.lines[mine])
    dirty = observatory.telescope.dirty(only).numpy().astype(float)
    assert dirty.max() == pytest.approx(truth["flux_peak"][i] * truth["pb"][i], rel=0.02)
    per_channel = truth["fwhm_velocity"][i] / truth["fwhm_z"][i]
    if not has_flag(truth["flags"][i], "edge"):
        assert sky.line_of(i).sum() * per_channel == pytest.approx(truth["flux"][i], rel=0.01)
    # its matched filter is the model itself, where the noise is correlated like the psf
    pb = cube.instrument.pb_cube()
    model = only.as_cube() * pb / observatory.instrument.sigma[:, None, None] ** 2
    assert np.sqrt((model * dirty).sum()) == pytest.approx(truth["snr"][i], rel=0.03)
    reduced = compact(cube)
    assert len(reduced["spectra"]) == len(truth["id"])


def test_absorption_is_negative():
    cube, i = one_with(wide(noise=False), "absorption")
    truth = cube.truth
    assert truth["flux"][i] < 0
    assert truth["flux_peak"][i] < 0
    assert truth["snr"][i] > 0
    assert truth["continuum_flux"][i] >= -truth["line_flux_peak"][i]


def test_blank_channels_are_nan_and_do_not_count():
    observatory = wide()
    observatory.visible = np.ones(48, dtype=bool)
    observatory.visible[20:28] = False
    cubes = [observatory.sample(2, i) for i in range(6)]
    for cube in cubes:
        assert np.isnan(cube.dirty[20:28]).all()
        assert np.isnan(cube.sigma[20:28]).all()
        assert np.isfinite(cube.dirty[:20, 48, 48]).all()
        if len(cube.truth["id"]):
            wanted = cube.sky.sources["wanted_snr"]
            first = np.isfinite(wanted)
            np.testing.assert_allclose(cube.truth["snr"][first], wanted[first], rtol=1e-6)
            t = cube.truth
            meets = (t["z_max"] >= 20) & (t["z_min"] <= 27)
            assert has_flag(t["flags"], "edge")[meets].all()


def test_every_product_of_one_cube_agrees(tmp_path):
    """Compact data are taken before cubes are written, which swaps their bytes."""
    names = ("all", "compact")
    for name, products in zip(names, (("dirty", "sky", "compact"), ("compact",)), strict=True):
        faintsky.simulate_alma(tmp_path / name, 1, seed=3, preset="varied", products=products, **SMALL)
    one, two = (np.load(tmp_path / name / "0000_compact.npz") for name in names)
    for key in one.files:
        np.testing.assert_array_equal(one[key], two[key])
    total = fits.getdata(tmp_path / "all" / "0000_dirty.fits").sum(axis=0)
    np.testing.assert_allclose(one["dirty"], total, atol=1e-6)

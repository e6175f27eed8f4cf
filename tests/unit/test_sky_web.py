"""Skies out of the cosmic web: emission, shocks, points, files, drawing, and the data sets made of them."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from astropy.io import fits
from scipy.ndimage import uniform_filter

import faintsky
from faintsky.errors import InputError
from faintsky.simulating import SimulationSettings
from faintsky.sky.web import (
    BLOCKS,
    MEAN_DENSITY,
    Points,
    Web,
    WebBox,
    boxes,
    comoving_distance,
    draw_web,
    gravity,
    load_box,
    luminous_points,
    make_box,
    save_box,
    shocks,
    split_of,
)
from faintsky.sky.web import points as web_points


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def points_at(places, side, power=1e22, size=5):
    """Points at comoving ``places`` [Mpc] of a box of that side."""
    position = np.rint(np.atleast_2d(places) / side * 65536).astype(np.int64) % 65536
    part = position * BLOCKS >> 16
    order = np.argsort((part[:, 0] * BLOCKS + part[:, 1]) * BLOCKS + part[:, 2], kind="stable")
    count = len(position)
    return Points(
        position[order].astype(np.uint16),
        np.full(count, np.log10(power / 1e20), dtype=np.float16),
        np.full(count, size, dtype=np.uint8),
    )


def random_box(count=20_000, side=25.0, peak=0.0):
    places = np.random.default_rng(1).uniform(0, side, (count, 3))
    return WebBox(16, side, 1, peak, (0.1,), (points_at(places, side),), (np.zeros((0, 5), np.float32),))


def test_distances():
    # Planck-like cosmology: 430 Mpc at a redshift of 0.1
    assert comoving_distance(0.1) == pytest.approx(432, abs=2)


def test_rankine_hugoniot_and_mach_numbers():
    density, temperature = shocks.jump_ratios(np.array([1.0, 2.0, 1e4]))
    assert density == pytest.approx([1, 16 / 7, 4], rel=1e-6)
    assert temperature[:2] == pytest.approx([1, 133 / 64])
    # a shock of Mach 3 into gas with a sound speed of 200 km/s
    jump = 0.75 * 3 * 200 * (1 - 1 / 9)
    assert shocks.mach_number(np.array(jump), np.array(0.6 * 200**2)) == pytest.approx(3)


def test_shocks_shine_by_their_energy():
    """Strong shocks: power of the flux of energy, its share, and of synchrotron against Compton losses."""
    mach, electrons, kt, field = np.array([300.0]), 1e-4, 7.0, 1.0
    power = shocks.shock_power(mach, electrons, kt, field, 0.0, freq=1.4e9, share=0.05)[0]
    speed = np.sqrt(16 / 3 * kt * 1.602e-9 / (0.59 * 1.6726e-24)) / 4
    flux = 1.5 * 1.92 * electrons * kt * 1.602e-9 * speed * 1e-7 * 3.0857e24**2
    # equal energies in each of ln(1e9) e-folds, two e-folds of frequency in each
    expected = 0.05 * flux / np.log(1e9) / 2 / (1 + 3.24**2) / 1.4e9
    assert power / shocks.SCALE == pytest.approx(expected, rel=0.35)
    # equation 32 of Hoeft & Brueggen (2007): 6.4e34 erg/s/Hz/Mpc2
    assert power / shocks.SCALE * 39 == pytest.approx(6.4e27 / (1 + 3.24**2), rel=0.03)


def test_weak_shocks_are_steep_and_faint():
    powers = {
        freq: shocks.shock_power(np.array([1.2, 2.0, 3.0, 10.0]), 1e-4, 7.0, 1.0, 0.0, freq=freq)
        for freq in (1.5e8, 1.5e9)
    }
    assert powers[1.5e8][0] == 0
    assert np.all(np.diff(powers[1.5e8]) > 0)
    slope = np.log10(powers[1.5e9][1:] / powers[1.5e8][1:])
    # -s/2 with s = (r + 2) / (r - 1)
    assert slope == pytest.approx([-5 / 3, -1.25, -1.0202], abs=1e-3)


def test_fields_rise_from_the_seed_to_microgauss():
    field = shocks.magnetic_field(np.array([1e-3, 10.0, 200.0, 1000.0]), 0.0)
    assert field[0] == pytest.approx(1e-4 * 1e-2, rel=0.02)
    # filaments: 30 to 60 nG (Carretti et al. 2022, MNRAS 512, 945)
    assert 0.03 < field[1] < 0.06
    assert 0.5 < field[2] < 1.5
    assert 1 < field[3] < 4
    again = shocks.magnetic_field(np.array([200.0]), 0.15)
    assert again[0] == pytest.approx(field[2] * 1.15**2)


def test_a_plane_shock_is_found_where_it_is():
    """Cold gas at 600 km/s from both sides: two cells wide, Mach number and area known."""
    n = 16
    x = torch.arange(n, dtype=torch.float32)
    velocity = torch.zeros(3, n, n, n)
    velocity[1] = -600 * torch.tanh((x - 7.7) / 1.2)[None, :, None]
    dispersion = 1e4 + 1e3 * torch.sigmoid(x - 7.7)[None, :, None].expand(n, n, n)
    gas = shocks.Gas(torch.ones(n, n, n), velocity, dispersion.contiguous())
    found = shocks.find_shocks(gas)
    # the other change of velocity, at the box's end, is an expansion
    assert np.abs(found.cell[1] - 7.7).max() < 5
    assert found.downstream[1].min() > 0.99
    near = np.abs(found.cell[1] - 7.7) < 1.5
    expected = shocks.mach_number(np.array(1200.0), np.array(1e4))
    assert found.mach[near] == pytest.approx(expected, rel=0.05)
    assert found.area.sum() == pytest.approx(n * n, rel=0.1)
    # cells are sent to where the velocity falls fastest
    way = (found.cell[1] + found.to_ridge[1] - 7.7)[near]
    assert np.abs(way).max() < 0.5 * np.abs(found.cell[1][near] - 7.7).max()


def test_points_have_the_power_of_their_cells_and_lie_on_the_surface(monkeypatch):
    monkeypatch.setattr(web_points, "CORRUGATION", ((8, 0.0),))
    n, box, count = 32, 3.2, 8
    j, k = np.meshgrid(np.arange(10, 10 + count), np.arange(10, 10 + count), indexing="ij")
    layers = np.arange(14, 19)
    cell = np.stack([np.repeat(layers, count**2), np.tile(j.ravel(), 5), np.tile(k.ravel(), 5)])
    m = cell.shape[1]
    down = np.zeros((3, m), dtype=np.float32)
    down[0] = 1
    way = np.zeros((3, m), dtype=np.float32)
    way[0] = 16.3 - cell[0]
    ones = np.ones(m, dtype=np.float32)
    found = shocks.Shocks(cell, down, 4 * ones, 500 * ones, 1e5 * ones, 0.2 * ones, way)
    points = luminous_points(found, n, box, 0.1, seed=1)
    power = 10.0 ** points.power.astype(float) * 1e20
    ratio, hotter = shocks.jump_ratios(np.array([4.0]))
    behind, kt = 500 * 2 * ratio / (1 + ratio), 1e5 * hotter * shocks.KEV_PER_KMS2
    field = shocks.magnetic_field(behind, 0.1)
    each = shocks.shock_power(np.array([4.0]), shocks.ELECTRONS * 1.1**3 * behind, kt, field, 0.1)
    assert power.sum() == pytest.approx(each[0] * 0.2 * m * (0.1 / 1.1) ** 2, rel=0.02)
    # sharp before the surface, a tail of the cooling length behind it
    x = points.position[:, 0] * (n / 65536)
    length = shocks.cooling_length(np.array([4.0]), kt, field, 0.1)[0] * 1.1 / 0.1
    before, after = (float(power[side].sum() / power.sum()) for side in (x < 15.0, x > 17.5))
    assert before < 0.02
    assert after == pytest.approx(np.exp(-1.2 / length), abs=0.1)


@pytest.mark.parametrize("glow", [1e-7, 1e-6, 1e-2, 1.0])
def test_the_brightest_shocks_saturate(glow):
    # a sheet of known brightness, seen face-on, at a redshift of 0.1
    side, count, z = 10.0, 200_000, 0.1
    places = np.random.default_rng(3).uniform(0, side, (count, 3))
    places[:, 2] = 5.0
    watts = glow * (4.2545e10 * 4 * np.pi * 3.0857e22**2 / 1e26) * (side / (1 + z)) ** 2
    given = points_at(places, side, power=watts / count)
    found = web_points.saturated(given, 64, side, z)
    factor = (10.0 ** found.power.astype(float)).sum() / (10.0 ** given.power.astype(float)).sum()
    limit = web_points.BRIGHTEST
    assert factor == pytest.approx(1 / (1 + glow / limit), rel=0.1)
    assert glow * factor < 1.1 * limit
    assert np.array_equal(found.position, given.position)


def test_haloes_have_their_mass_and_no_parts():
    n, box = 48, 24.0
    density = np.zeros((n, n, n), dtype=np.float32)
    x = np.arange(n)
    for (i, j, k), scale in (((2, 20, 20), 8000), ((5, 20, 20), 1500), ((30, 30, 30), 1500)):
        r2 = sum(
            (((x - c + n / 2) % n - n / 2) ** 2).reshape(s)
            for c, s in zip((i, j, k), np.eye(3, dtype=int) * (n - 1) + 1)
        )
        density += scale / (1 + r2) ** 1.5
    found = gravity.find_haloes(torch.from_numpy(density), box)
    # the small one beside the large one is a part of it
    assert len(found) == 2
    assert found[0, :3] == pytest.approx([1, 10, 10], abs=0.6)
    assert found[1, :3] == pytest.approx([15, 15, 15], abs=0.1)
    # mean density within r of this profile: 3 A (asinh r - r / sqrt(1 + r**2)) / r**3
    r = np.geomspace(0.5, 10, 2000)
    mean = 3 * 1500 * (np.arcsinh(r) - r / np.sqrt(1 + r**2)) / r**3
    radius = r[np.argmin(np.abs(mean - 200))] * 0.5
    assert found[1, 4] == pytest.approx(radius, rel=0.08)
    for mass, reach in found[:, 3:]:
        assert mass == pytest.approx(200 * MEAN_DENSITY * 4 / 3 * np.pi * reach**3, rel=1e-3)
    assert found[0, 3] > 5 * found[1, 3]


def test_files_are_read_back_and_others_refused(tmp_path):
    box = random_box(100)
    save_box(box, tmp_path / "web.npz")
    again = load_box(tmp_path / "web.npz")
    assert again.parameters() == box.parameters()
    assert np.array_equal(again.snapshots[0].position, box.snapshots[0].position)
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    (tmp_path / "text.npz").write_text("no")
    for name in ("other.npz", "text.npz", "none.npz"):
        with pytest.raises(InputError, match="web"):
            load_box(tmp_path / name)
    with pytest.raises(InputError, match="holds no cosmic web"):
        boxes.open_web(tmp_path / "empty")


def test_a_sky_has_the_flux_of_its_points():
    web = Web((random_box(),))
    rng = np.random.default_rng(3)
    wide = draw_web(web, np.random.default_rng(3), 64, 60.0, "sky2")
    # points of 1e22 W/Hz, 20000 of them in 25**3 Mpc3, seen in a cone
    near, far = comoving_distance(0.15) - 25 * np.arange(1, 24) + 12.5, 0
    solid = (64 * 60 / 206265) ** 2
    distance = near[near > comoving_distance(0.02) + far]
    flux = 20_000 / 25**3 * solid * 25 * len(distance) * 1e22 * 1e26 / (4 * np.pi) / 3.0857e22**2
    dimming = np.mean((1 + distance / 4420) ** -2.2)
    assert wide.sum() * 60**2 == pytest.approx(flux * dimming, rel=0.1)
    again = draw_web(web, rng, 64, 60.0, "sky2")
    assert np.array_equal(wide, again)
    assert wide.dtype == np.float32
    assert wide.min() >= 0


def test_finer_pixels_show_the_same_sky():
    web = Web((random_box(3000),))
    coarse = draw_web(web, np.random.default_rng(5), 100, 40.0)
    fine = draw_web(web, np.random.default_rng(5), 400, 10.0)
    binned = fine.reshape(100, 4, 100, 4).mean((1, 3))
    blur = [uniform_filter(i, 7) for i in (coarse, binned)]
    inner = (slice(8, -8), slice(8, -8))
    assert np.corrcoef(blur[0][inner].ravel(), blur[1][inner].ravel())[0, 1] > 0.97
    assert fine.sum() / 16 == pytest.approx(coarse.sum(), rel=0.02)


def test_the_cluster_is_in_its_field_once():
    box = random_box(1, side=50.0, peak=1e15)
    box = replace(box, snapshots=(points_at([[0.0, 0.0, 0.0]], 50.0),))
    for seed in range(6):
        sky = draw_web(Web((box,)), np.random.default_rng(seed), 200, 20.0, "sky1")
        y, x = np.nonzero(sky > 0.05 * sky.max())
        assert sky.max() > 0
        assert max(np.ptp(x), np.ptp(y)) < 6
        assert 45 <= x.mean() <= 155
    with pytest.raises(InputError, match="sky2"):
        draw_web(Web((box,)), np.random.default_rng(1), 32, 8.0, "sky2")


def test_a_small_web_shines_and_is_reproducible():
    pytest.importorskip("colossus", reason="the extra 'lofar' is not installed")
    wanted = WebBox(24, 50.0, 4, 1e15, redshifts=(0.1,))
    steps = []
    one, two = (make_box(wanted, progress=lambda i, n: steps.append((i, n))) for _ in range(2))
    assert steps[-1][0] == steps[-1][1]
    assert len(one.snapshots[0].power) > 200
    assert np.array_equal(one.snapshots[0].power, two.snapshots[0].power)
    assert np.array_equal(one.snapshots[0].position, two.snapshots[0].position)


def test_splits_share_no_realisation():
    for number in ("", ":50"):
        seeds = [b.seed for split in boxes.SPLITS for b in boxes.wanted_boxes(split + number)]
        assert len(set(seeds)) == len(seeds)
    assert [b.seed for b in boxes.wanted_boxes("validation:2")] == [200, 201, 250, 251]
    assert [b.seed for b in boxes.wanted_boxes("train", "sky1")] == [150, 151]
    assert (split_of("test"), split_of("web.npz")) == (("test", 1), None)
    with pytest.raises(InputError, match="train:1 to train:50"):
        split_of("train:51")


def test_data_sets_of_a_web(tmp_path, monkeypatch):
    monkeypatch.setenv("FAINTSKY_CACHE", str(tmp_path / "cache"))
    save_box(random_box(), tmp_path / "web.npz")
    small = {"size": 96, "total_time": "30min", "integration": "300s", "primary_beam": "gaussian"}
    given = {"web": tmp_path / "web.npz", "field": "sky2", "seed": 3, **small}
    faintsky.simulate_lofar(tmp_path / "a", 2, **given)
    sky = fits.getdata(tmp_path / "a" / "0001_sky.fits")
    record = json.loads((tmp_path / "a" / "dataset.json").read_text())
    assert len(record["parameters"]["web"]) == 64
    assert sky.max() > 0
    expected = draw_web(
        Web((random_box(),)),
        np.random.default_rng(np.random.SeedSequence([3, 1]).spawn(2)[1]), 96, 2.0, "sky2",
    )  # fmt: skip
    assert np.array_equal(sky, expected)


def test_webs_are_checked():
    with pytest.raises(InputError, match="sky3"):
        SimulationSettings(telescope="lofar", web="train", field="sky3")
    with pytest.raises(InputError, match="field"):
        SimulationSettings(telescope="lofar", field="sky1")
    with pytest.raises(InputError, match="cosmic web"):
        SimulationSettings(telescope="lofar", web="nowhere.npz")
    twice = SimulationSettings(telescope="lofar", web="train:3").parameters()
    assert (twice["web"], SimulationSettings(telescope="lofar", web=twice["web"]).parameters()) == (
        "train:3",
        twice,
    )
    assert SimulationSettings(telescope="lofar", web="test").parameters()["web"] == "test:1"
    assert (
        "web"
        not in SimulationSettings(
            telescope="lofar",
        ).parameters()
    )

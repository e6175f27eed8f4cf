"""Cubes of several tiles: the same sources as in one piece, whatever shares the work."""

from dataclasses import replace
from pkgutil import resolve_name

import numpy as np
import pytest
from astropy.io import fits
from scipy.ndimage import gaussian_filter, label
from synthetic import Emitter, telescope

from faintsky import detect
from faintsky.blocks import bricks
from faintsky.detection import bricks_of
from faintsky.errors import InputError
from faintsky.image import RadioCube
from faintsky.io import open_cube, save_like

SHAPE, BEAM, RMS = (60, 64, 120), 4.0, 5e-4
POINTS = ((30, 59.6, 30, 6), (31, 12, 59.5, 5), (15, 50, 80, 5), (44, 20, 100, 8), (45, 40.5, 20, 4))
"""Channel, row, column and width: on seams of both kinds, and off them."""


@pytest.mark.parametrize(
    ("shape", "margin", "voxels"),
    [((30, 50, 70), (4, 6, 6), 3e4), ((500, 20, 20), (8, 20, 20), 3e4), ((9, 9, 9), (3, 3, 3), 1e9)],
)
def test_bricks_tile_the_cube(shape, margin, voxels):
    written = np.zeros(shape, int)
    for b in bricks(shape, margin, voxels, 100):
        written[b.write] += 1
        assert b.voxels <= voxels
        for r, w, m, n in zip(b.read, b.write, margin, shape):
            assert r.start == max(w.start - m, 0)
            assert r.stop == min(w.stop + m, n)
    assert (written == 1).all()


@pytest.fixture(scope="module")
def cube():
    """Points, a rotating galaxy longer than a tile and its margins, a corner that is blank."""
    rng = np.random.default_rng(3)
    data = gaussian_filter(rng.normal(size=SHAPE), (0, *2 * [BEAM / 2.3548 / np.sqrt(2)]), mode="wrap")
    data /= data.std()
    z, y, x = np.indices(SHAPE, sparse=True)
    for k, (pz, py, px, wide) in enumerate(POINTS):
        shape = ((x - px) ** 2 + (y - py) ** 2) / BEAM**2 + ((z - pz) / wide) ** 2
        data += (12 + 2 * k) * np.exp(-4 * np.log(2) * shape)
    centre = 12 + 10 * np.tanh((x - 60) / 15)
    data += 8 * np.exp(-(((y - 32) / 4) ** 2) - ((x - 60) / 28.0) ** 6 - ((z - centre) / 2) ** 2)
    data[:, :24, :30] = np.nan
    return RadioCube.from_array(
        (data * RMS).astype(np.float32), cell=1.0, beam=(4.0, 4.0, 0.0), kind="restored", name="tiled",
        frequencies=1.4e9 + 1e5 * np.arange(SHAPE[0]), rest_frequency=1.4e9,
    )  # fmt: skip


@pytest.fixture
def small(monkeypatch):
    """Small tiles, which read little about what they write."""

    def few(shape, margin, voxels, longest):
        return bricks(
            shape, [n if m == n else least for m, n, least in zip(margin, shape, (9, 14, 14))], 2e5, 99
        )

    monkeypatch.setattr("faintsky.detection.cube_tiles.bricks", few)
    monkeypatch.setattr("faintsky.detection.cube_tiles.VOXELS", 1e5)


@pytest.fixture(scope="module")
def whole(cube):
    return detect(cube)


def files(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.suffix == ".fits"}


def test_tiles_find_what_the_whole_shows(cube, whole, small, tmp_path, monkeypatch):
    """Into files and back; stopped half-way and gone on with: the same bytes."""
    path = save_like(tmp_path / "cube.fits", cube.data, cube)
    opened = open_cube(path, kind="restored")
    assert len(bricks_of(opened)) > 3
    found = detect(opened, tmp_path / "out", jobs=1, cutouts=True, columns="sofia")
    assert "cube" not in vars(opened)  # it was never read as a whole
    assert not (tmp_path / "out" / ".tiles").exists()
    ours, theirs = found.catalog, whole.catalog
    assert len(theirs) >= len(POINTS) + 1
    at = [np.stack([np.asarray(t[k]) for k in "xyz"], axis=1) for t in (ours, theirs)]
    apart = np.linalg.norm(at[0][:, None] - at[1], axis=2)
    sure = np.asarray(theirs["snr"]) > 7
    rows = apart.argmin(axis=0)[sure]
    assert apart.min(axis=0)[sure].max() < 0.5
    assert abs(len(ours) - len(theirs)) <= 1
    for name, room in (("flux", 0.05), ("las", 0.15), ("rms", 0.05), ("freq", 1e-6)):
        np.testing.assert_allclose(ours[name][rows], theirs[name][sure], rtol=room, err_msg=name)
    assert list(ours["id"]) == list(range(1, len(ours) + 1))
    assert np.all(np.diff(ours["snr"]) <= 0)
    np.testing.assert_allclose(ours["dec"][rows], theirs["dec"][sure], atol=1e-4)
    galaxy = ours["id"][np.argmax(ours["area"])]
    assert label(found.mask == galaxy, np.ones((3, 3, 3)))[1] == 1
    assert np.ptp(np.nonzero(found.mask == galaxy)[2]) > 50
    assert ((found.mask > 0) != (whole.mask > 0)).mean() < 0.002
    np.testing.assert_allclose(found.model + found.residual, cube.data, atol=1e-6)
    one, other = (fits.getdata(tmp_path / "out" / "moment0.fits"), whole.moments()[0][0])
    assert np.nansum(one) == pytest.approx(np.nansum(other), rel=0.02)
    assert found.facts["sources"] <= found.facts["candidates"]
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count('<svg id="source-') == len(ours)
    assert (tmp_path / "out" / "catalog_sofia.fits").exists()
    assert len(list((tmp_path / "out" / "cube_cubelets").glob("*_mask.fits"))) == len(ours)

    look, count = resolve_name("faintsky.detection.cube.look_at"), []

    def stopped(plan, number):
        count.append(number)
        if len(count) == 3:
            raise KeyboardInterrupt
        return look(plan, number)

    monkeypatch.setattr("faintsky.detection.cube.look_at", stopped)
    again = {"kind": "restored", "jobs": 1, "cutouts": True, "columns": "sofia"}
    with pytest.raises(KeyboardInterrupt):
        detect(path, tmp_path / "stopped", **again)
    detect(path, tmp_path / "stopped", **again)
    assert len(count) == len(bricks_of(opened)) + 1
    assert files(tmp_path / "out") == files(tmp_path / "stopped")


def test_a_dirty_cube_is_cut_along_frequency_alone(small):
    t = telescope(64)
    lines = [t.at_snr(Emitter(20, 40, z, fwhm_z=6), 25, 1e-3, 120) for z in (25, 60, 95)]
    made = t.radio_cube(t.cube(lines, 120, seed=2))
    assert all(b.write[1:] == (slice(0, 64), slice(0, 64)) for b in bricks_of(made))
    assert len(bricks_of(made)) > 2
    found = detect(made)
    np.testing.assert_allclose(np.sort(found.catalog["z"]), (25, 60, 95), atol=1)
    assert found.catalog.meta["psf"] == "given"
    np.testing.assert_allclose(found.catalog["x"], 20, atol=1)


def test_what_does_not_fit_into_memory_is_refused_before_it_is_read(cube, small, monkeypatch):
    monkeypatch.setattr("faintsky.system.machine.free_memory", lambda: 1e8)
    bare = replace(cube, load=lambda box=None: pytest.fail("it was read"), kind="dirty")
    with pytest.raises(InputError, match=r"GB of memory, and 0\.1 GB are free"):
        detect(bare)

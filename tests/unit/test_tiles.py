"""Images of several tiles: the same objects as in one piece, whatever shares the work."""

from contextlib import nullcontext
from functools import partial
from importlib import import_module

import numpy as np
import pytest
from astropy.io import fits
from scipy.ndimage import gaussian_filter, label

from faintsky import detect
from faintsky.blocks import connected_labels, merged_pieces, pieces_of, tiles
from faintsky.catalog import read_catalog
from faintsky.denoising import RegionSettings
from faintsky.detection import detect_image
from faintsky.errors import FaintskyError
from faintsky.image import RadioImage
from faintsky.io import FitsMaps, open_image, save_like

N, BEAM, RMS = 400, 4.0, 50e-6
SEAMS = (96, 192, 288)
"""With tiles of 96 pixels; the beam's margin is 128."""


@pytest.mark.parametrize("core", [7, 16, 30])
def test_regions_are_numbered_as_in_the_whole(core):
    """Rings, stripes along both diagonals, noise at and above the percolation, all and nothing."""
    y, x = np.indices((70, 90))
    noise = np.random.default_rng(0).random(y.shape)
    rings = (np.hypot(y - 35, x - 45) % 8) < 2
    for mask in (noise > 0.6, noise > 0.4, rings, (x + y) % 7 == 0, (x - y) % 16 == 3, y >= 0, y < 0):
        blocks = tiles(mask.shape, 3, core=core, whole=20)
        labels = [connected_labels(mask[b.write]) for b in blocks]
        numbers = merged_pieces([pieces_of(a, b, 90) for a, b in zip(labels, blocks)], blocks)
        whole = np.zeros(mask.shape, int)
        for a, b, n in zip(labels, blocks, numbers):
            whole[b.write] = n[a]
        np.testing.assert_array_equal(whole, label(mask, np.ones((3, 3)))[0])


def test_a_tile_does_not_depend_on_where_the_image_ends():
    one, other = (tiles((n, n), 128, core=256, whole=300) for n in (1000, 700))
    known = {(b.origin, b.shape, str(b.write)) for b in one}
    same = [b for b in other if all(s.stop + 128 <= 700 - 256 for s in b.write)]
    assert same
    assert all((b.origin, b.shape, str(b.write)) in known for b in same)


def eye(prepared):
    """In the network's place: the image smoothed."""
    smooth = gaussian_filter(prepared.scaled, 3.0)
    return prepared, smooth, np.full_like(smooth, 0.15), RegionSettings(reliability=(9.0, 0.0, 0.0, 0.0))


@pytest.fixture(scope="module")
def image():
    """Points on and off seams, blends, a filament through three tiles, a corner that is blank."""
    rng = np.random.default_rng(5)
    data = gaussian_filter(rng.normal(size=(N, N)), BEAM / 2.3548 / np.sqrt(2), mode="wrap")
    data /= data.std()
    y, x = np.indices(data.shape)

    def add(px, py, peak, wide=BEAM, high=BEAM):
        data[...] += peak * np.exp(-4 * np.log(2) * (((x - px) / wide) ** 2 + ((y - py) / high) ** 2))

    for k, (px, py) in enumerate(rng.uniform(12, N - 12, (40, 2))):
        add(px, py, 15 + 3 * k)
    for px, py in ((95.5, 40), (96, 150.5), (191.6, 191.4), (287, 287), (288.3, 60), (60, 191.9)):
        add(px, py, 40)
    add(95, 250, 60)
    add(99, 253, 50)
    add(190, 330, 6, 240, 18)
    data[:110, 310:] = np.nan
    return RadioImage.from_array(
        (data * RMS).astype(np.float32), cell=1.5, beam=(6.0, 6.0, 20.0), frequencies=[1.4e9], name="tiled"
    )


@pytest.fixture(scope="module")
def corner(image):
    """16 tiles of the image."""
    return image.part((slice(0, 304), slice(96, N)))


@pytest.fixture
def small_tiles(monkeypatch):
    small = partial(tiles, margin=32, core=96, whole=128)
    monkeypatch.setattr("faintsky.detection.tiles.tiles", lambda shape, margin: small(shape))


def same(found, whole):
    """Objects of both that are at one place, as rows."""
    apart = np.hypot(
        *(np.asarray(found.catalog[k])[:, None] - np.asarray(whole.catalog[k]) for k in ("x", "y"))
    )
    return apart.argmin(axis=0), apart.min(axis=0)


@pytest.fixture(scope="module")
def whole(image):
    return detect_image(image, eye=eye, always=True)


def test_tiles_find_what_the_whole_shows(image, whole, small_tiles, tmp_path):
    """Into files and back: places, fluxes, masks, islands, one region through several tiles, blanks."""
    path = save_like(tmp_path / "image.fits", image.data, image)
    opened = open_image(path)
    maps = FitsMaps(tmp_path / "maps", opened, {})
    found = detect_image(opened, eye=eye, always=True, maps=maps)
    assert "cube" not in vars(opened)  # it was never read as a whole
    rows, apart = same(found, whole)
    diffuse = [np.asarray(t["kind"]) == "diffuse" for t in (found.catalog, whole.catalog)]
    sure = (np.asarray(whole.catalog["snr"]) > 7) & ~diffuse[1]
    assert sure.sum() > 40
    assert apart[sure].max() < 1.0
    assert abs(len(found.catalog) - len(whole.catalog)) <= 2
    ours, theirs = found.catalog[rows[sure]], whole.catalog[sure]
    np.testing.assert_allclose(ours["flux"], theirs["flux"], rtol=0.1)
    np.testing.assert_allclose(ours["ra"], theirs["ra"], atol=1 / 3600)
    # in tiles that the filament all but fills, the noise is less well known
    total, expected = (t["flux"][d].sum() for t, d in zip((found.catalog, whole.catalog), diffuse))
    assert total == pytest.approx(expected, rel=0.25)
    np.testing.assert_allclose(ours["las"], theirs["las"], rtol=0.25)
    places = np.stack([theirs["x"], theirs["y"]])
    assert (np.abs(places[:, :, None] - np.array(SEAMS)) < 1.5).any(axis=0).sum() >= 5
    assert list(found.catalog["id"]) == list(range(1, len(found.catalog) + 1))
    assert np.all(np.diff(found.catalog["snr"]) <= 0)
    files = {
        name: np.squeeze(fits.getdata(maps.path(name)))
        for name in ("mask", "mask_diffuse", "model", "residual")
    }
    assert set(np.unique(files["mask"])) - {0} <= set(found.catalog["id"])
    number = found.catalog["id"][np.nanargmax(found.catalog["area"])]
    assert label(files["mask_diffuse"] == number, np.ones((3, 3)))[1] == 1
    assert np.ptp(np.nonzero(files["mask_diffuse"])[1]) > 1.5 * 96
    inside = found.catalog["parent"] == number
    at = [np.rint(found.catalog[k]).astype(int) for k in ("y", "x")]
    np.testing.assert_array_equal(
        inside, (files["mask_diffuse"][at[0], at[1]] == number) & (found.catalog["kind"] != "diffuse")
    )
    islands = label(files["mask"] > 0, np.ones((3, 3)))[0]
    of_object = islands[at[0], at[1]]
    shown = of_object > 0
    np.testing.assert_array_equal(found.catalog["island"][shown], of_object[shown])
    np.testing.assert_allclose(files["model"] + files["residual"], image.data, atol=1e-4 * RMS)
    assert np.isnan(files["residual"][:100, 320:]).all()
    chance = np.squeeze(fits.getdata(maps.path("probability")))
    assert np.nanmin(chance) >= 0
    assert np.nanmax(chance) <= 1
    assert np.nanmedian(chance[files["mask"] > 0]) > 0.95 > 0.05 > np.nanmedian(chance)
    for name, values in (("denoised", whole.denoised), ("uncertainty", whole.denoised_error)):
        ours = np.squeeze(fits.getdata(maps.path(name)))
        assert np.array_equal(np.isnan(ours), np.isnan(values))
        assert np.nanmedian(np.abs(ours - values)) < 0.02 * RMS
    # the report shows every n-th pixel, and a part as it is
    assert found.sample.residual.shape == (96, 96)
    assert found.prepared.typical_rms == pytest.approx(whole.prepared.typical_rms, rel=0.02)


@pytest.mark.usefixtures("quick_workers")
def test_workers_change_nothing(image, small_tiles, tmp_path):
    data = image.data.copy()
    data[4, 390] = np.inf  # in a tile that only the search reads
    path = save_like(tmp_path / "image.fits", data, image)
    made = []
    for jobs in (1, 2):
        folder = tmp_path / str(jobs)
        opened = open_image(path, kind="restored")
        found = detect_image(opened, maps=FitsMaps(folder, opened, {}), jobs=jobs)
        assert found.notes.count("some pixels are infinite, and taken as blank") == 1
        made.append((found.catalog, {p.name: p.read_bytes() for p in folder.glob("*.fits")}))
    assert len(made[0][0]) > 40
    for name in made[0][0].colnames:
        np.testing.assert_array_equal(*(np.asarray(table[name]) for table, _ in made), err_msg=name)
    assert made[0][1] == made[1][1]


def test_a_part_of_an_image_gives_the_same_fits(image, small_tiles):
    """Of two images that overlap by a tile and its margin, but for what the whole list decides."""
    rows = 288 + 32
    part = image.part((slice(0, rows), slice(0, N)))
    whole, found = (detect_image(one).components for one in (image, part))
    inner = [t[(t["y"] < 270) & (t["snr"] > 8)] for t in (whole, found)]
    assert len(inner[0]) > 25
    for name in ("x", "y", "fwhm_maj", "snr", "rms", "x_err"):
        np.testing.assert_array_equal(*(np.sort(np.asarray(t[name])) for t in inner), err_msg=name)


def test_tiles_of_another_run_are_not_taken(image, tmp_path):
    box = slice(0, 3), slice(5, 9)
    for run, fresh, kept in (
        ({"a": 1}, False, False),
        ({"a": 1}, False, True),
        ({"a": 2}, False, False),
        ({"a": 2}, True, False),
    ):
        maps = FitsMaps(tmp_path / "maps", image, {}, run, fresh=fresh)
        assert (maps.known(4) == "seen") is kept
        assert bool(maps.read("noise", box).any()) is kept
        maps.write("noise", box, np.ones((3, 4), np.float32))
        maps.note(4, "seen")


def test_what_cannot_be_read_is_left_blank_and_said(corner, small_tiles, tmp_path):
    """A compressed file with some bytes that are wrong: all else is done, and the run fails at its end."""
    path = save_like(tmp_path / "image.fits.fz", corner.data, corner)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 50] = bytes(50)
    path.write_bytes(data)
    with pytest.raises(FaintskyError, match=r"rows \d+ to \d+.* cannot be read.*the rest was searched"):
        detect(path, tmp_path / "out", jobs=1)
    residual = np.squeeze(fits.getdata(tmp_path / "out" / "residual.fits"))
    lost = np.isnan(residual) & ~np.isnan(corner.data)
    assert 0 < lost.sum() <= 16 * 304
    assert len(read_catalog(tmp_path / "out" / "catalog.fits")) > 20


def test_a_run_that_is_stopped_goes_on_to_the_same_bytes(corner, small_tiles, tmp_path, monkeypatch):
    """Stopped while tiles are searched, and once more; what was searched is not searched again.

    In `tests/robustness/test_kill.py` the process is killed.
    """
    path, results, calls = save_like(tmp_path / "image.fits", corner.data, corner), [], []
    look = import_module("faintsky.detection.image").look

    class Stopped(BaseException):
        pass

    def stopped(after, how, number, maps):
        calls.append(number)
        if len(calls) == after:
            raise Stopped
        return look(how, number, maps)

    for stops in ((), (3, 5)):
        out = tmp_path / f"out{len(stops)}"
        for after in (*stops, None):
            calls.clear()
            monkeypatch.setattr("faintsky.detection.image.look", partial(stopped, after))
            with nullcontext() if after is None else pytest.raises(Stopped):
                detect(path, out, jobs=1, report=False)
        assert len(calls) == 16 - sum(k - 1 for k in stops)
        results.append({p.name: p.read_bytes() for p in out.glob("*.fits")})
        assert not (out / ".tiles").exists()
        assert {"mask.fits", "model.fits", "catalog.fits"} < set(results[-1])
    assert results[0] == results[1]

"""The published autoencoder in use: its scale, tiles and stacks, units, regions by threshold; its data."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from astropy.io import fits
from conftest import cube_header

from faintsky.errors import InputError
from faintsky.image import RadioImage
from faintsky.networks import make_network
from faintsky.preparing import robust_sigma
from faintsky.published.dda import (
    AutoencoderSettings,
    DdaRecipe,
    LogScale,
    TilePairs,
    TileSettings,
    autoencode_image,
    encode,
    make_tiles,
    stack_encodings,
)
from faintsky.published.dda import training as tile_data
from faintsky.training import Plan, Schedule

pytestmark = pytest.mark.learning
FLOOR = 1e-8


class Same(torch.nn.Module):
    """An autoencoder that hands its tiles on."""

    tile = 16

    def forward(self, x):
        return x


class Rimmed(Same):
    """One that is wrong outside of the central half of its tiles."""

    def forward(self, x):
        quarter = self.tile // 4
        out = torch.full_like(x, torch.nan)
        inner = (..., slice(quarter, -quarter), slice(quarter, -quarter))
        out[inner] = x[inner]
        return out


class Spotted(Same):
    """One that sees a spot at one place of its tiles."""

    def forward(self, x):
        out = x.clone()
        out[..., 6, 7] = 1.0
        return out


def sky(n=64, background=2e-8):
    """Two Gaussians [Jy/arcsec2]."""
    y, x = np.indices((n, n))
    image = np.full((n, n), background)
    for cx, cy, width, peak in ((20, 30, 5, 3e-5), (45, 40, 7, 1e-6)):
        image += peak * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * width**2))
    return image.astype(np.float32)


def test_the_scale_there_and_back():
    image = np.array([[-1e-5, 0, 1e-8], [1e-5, 1e-2, np.nan]], np.float32)
    scale = LogScale()
    values = scale.encode(image, scale.limits(image))
    np.testing.assert_allclose(values, [[0, 0, 0], [0.5, 1, 0]], atol=1e-6)
    back = LogScale.decode(values, scale.limits(image))
    np.testing.assert_allclose(back, [[1e-8, 1e-8, 1e-8], [1e-5, 1e-2, 1e-8]], rtol=1e-5)


def test_the_scale_of_an_image_is_its_own_extremes():
    scale = LogScale(scaling="image")
    image = sky()
    values = scale.encode(image, scale.limits(image))
    assert values.min() == 0
    assert values.max() == pytest.approx(1)
    both = np.stack([values, values])
    limits = np.array([scale.limits(image), (-8.0, -2.0)])
    np.testing.assert_allclose(LogScale.decode(both, limits)[0], image, rtol=1e-4)
    assert LogScale.decode(both, limits)[1].max() == pytest.approx(1e-2)
    assert scale.limits(np.zeros((4, 4), np.float32)) == LogScale().limits(image)


@pytest.mark.parametrize("value", [0.0, 1e-6])
def test_an_image_of_one_value_is_refused(value):
    image = RadioImage.from_array(np.full((48, 48), value, np.float32), cell=2.0, unit="Jy/arcsec2")
    with pytest.raises(InputError, match="blank or constant"):
        autoencode_image(image, Same(), AutoencoderSettings())


def test_an_image_as_smooth_as_itself_needs_no_memory_beyond_it():
    ramp = np.linspace(1e-6, 2e-6, 64, dtype=np.float32) * np.ones((64, 1), np.float32)
    image = RadioImage.from_array(ramp, cell=2.0, unit="Jy/arcsec2")
    assert len(autoencode_image(image, Same(), AutoencoderSettings()).catalog) == 1


@pytest.mark.parametrize("arguments", [{"floor": 0.0}, {"floor": 1.0}, {"scaling": "no"}])
def test_bad_scales(arguments):
    with pytest.raises(InputError):
        LogScale.read(arguments)


@pytest.mark.parametrize("shape", [(16, 16), (37, 53), (9, 40)])
@pytest.mark.parametrize("tile", [16, 15])
def test_of_each_tile_the_central_half_is_kept(shape, tile, monkeypatch):
    monkeypatch.setattr(Same, "tile", tile)
    image = np.random.default_rng(0).random(shape, dtype=np.float32)
    network = Rimmed() if tile % 4 == 0 else Same()
    for shift in ((0, 0), (3, 5), (6, 6)):
        np.testing.assert_array_equal(encode(network, image, shift=shift), image)
    rows = []
    encode(network, image, progress=lambda done, total: rows.append((done, total)))
    assert rows[-1] == (-(-shape[0] // (tile // 2)),) * 2


def test_a_stack_of_encodings_fades_what_only_one_sees():
    image = np.zeros((48, 40), np.float32)
    scale = LogScale()
    limits = scale.limits(image)
    one, none = stack_encodings(Spotted(), image, lambda v: LogScale.decode(v, limits))
    eight, spread = stack_encodings(Spotted(), image, lambda v: LogScale.decode(v, limits), members=8)
    assert not none.any()
    spots = one > 1e-3
    assert spots.sum() == 6 * 5
    # the spots lie elsewhere in every member: an eighth of six decades is left
    assert eight.max() < 1e-8 * 10 ** (6 * 2.01 / 8)
    assert spread[eight > 1.1e-8].min() > 1e-3
    same, apart = stack_encodings(Same(), sky(48)[:, :40], lambda v: v, members=8)
    np.testing.assert_allclose(same, sky(48)[:, :40], rtol=1e-6)
    assert apart.max() < 1e-11


def passed(image, **settings):
    return autoencode_image(image, Same(), AutoencoderSettings(**settings))


def test_a_noise_image_keeps_its_unit_and_has_regions_above_the_threshold():
    truth = sky()
    image = RadioImage.from_array(truth * 1e6, cell=2.0, unit="uJy/arcsec2", ra=180.0, dec=55.0)
    found = passed(image, threshold=5e-7, error_at=(1e-8, 1e-2), error=(1e-9, 1e-3))
    np.testing.assert_allclose(found.image, truth * 1e6, rtol=1e-5)
    np.testing.assert_allclose(found.uncertainty, 0.1 * truth * 1e6, rtol=1e-3)
    np.testing.assert_array_equal(found.mask > 0, truth > 5e-7)
    assert list(found.catalog["id"]) == [1, 2]
    assert found.mask[30, 20] == 1
    for number in (1, 2):
        flux = truth[found.mask == number].sum(dtype=float) * 4
        assert found.catalog["flux"][number - 1] == pytest.approx(flux, rel=1e-3)
    assert np.isnan(found.catalog["reliability"]).all()
    assert found.seen is None
    np.testing.assert_allclose(found.residual, 0, atol=1e-4)
    assert found.rule == "above 5e-07 Jy/arcsec²"


def test_an_image_in_jy_per_beam_is_read_as_brightness_and_shown_with_the_beam():
    truth, beam = sky(), [12.0, 9.0, 30.0]
    area = np.pi / (4 * np.log(2)) * 12 * 9
    image = RadioImage.from_array(truth * area, cell=2.0, unit="Jy/beam", beam=beam)
    found = passed(image, product="dirty", cell=1.5)
    np.testing.assert_allclose(found.image, truth * area, rtol=1e-5)
    # with the beam the peak is lower, and the flux the same
    peak = np.nanmax(found.seen) / np.nanmax(found.image)
    s2, b2 = 5**2 * 8 * np.log(2), 6 * 4.5
    assert peak == pytest.approx(s2 / (s2 + b2), rel=0.03)
    np.testing.assert_allclose(found.residual, image.data - found.seen, rtol=1e-4, atol=1e-9)
    notes = " ".join(found.notes)
    assert "without the beam" in notes
    assert "trained on pixels of 1.5 arcsec" in notes
    assert passed(image, product="noise").seen is None
    assert "of them has a beam" in " ".join(passed(image, product="noise").notes)
    alike = passed(image, product="dirty", beam=10.0, rms=1.5 * robust_sigma(truth)).notes
    assert "trained on a beam" not in " ".join(alike)
    assert "scatter" not in " ".join(alike)
    unlike = " ".join(passed(image, product="dirty", beam=14.0, rms=3 * robust_sigma(truth)).notes)
    assert "trained on a beam of 14 arcsec, here it has 10.4" in unlike
    assert "whose pixels scatter" in unlike


def test_blanks_stay_blank_and_an_image_without_noise_is_data():
    truth = sky(background=0.0)
    truth[:, :10] = 0
    truth[:8] = np.nan
    found = passed(RadioImage.from_array(truth, cell=2.0, unit="Jy/arcsec2"), product="sky")
    assert np.isnan(found.image[:8]).all()
    np.testing.assert_allclose(found.image[8:, :10], FLOOR, rtol=1e-5)
    assert (found.prepared.rms[8:] >= 0.99 * FLOOR).all()


def test_an_image_without_brightness_is_refused():
    with pytest.raises(InputError, match="Jy/arcsec2"):
        passed(RadioImage.from_array(sky(), cell=2.0, unit="K"))


@pytest.mark.parametrize(
    "bad", [{"no": 1}, {"floor": "x"}, {"product": "x"}, {"error_at": [1.0], "error": []}]
)
def test_bad_cards(bad):
    with pytest.raises(InputError):
        AutoencoderSettings.read({"method": "dda", **bad})


def test_cards_there_and_back():
    settings = AutoencoderSettings(product="clean", error_at=(1e-8, 1e-3), error=(1e-9, 1e-4))
    assert AutoencoderSettings.read(json.loads(settings.model_dump_json())) == settings


# ---------------------------------------------------------------------- training data


def source(**changes):
    """What tiles are asked for; some values of the settings, or ``data`` or ``tile``."""
    data, tile = changes.pop("data", None), changes.pop("tile", 16)
    settings = TileSettings(**{"fields": 4, "size": 64, **changes})
    return Plan(DdaRecipe(), data, "paper", None, Schedule(seed=3), settings, {"tile": tile})


@pytest.fixture
def simulated(monkeypatch):
    """Stands for the simulation: what it was asked for, and fields of the right shape."""
    asked = []

    def fields(telescope, n, **settings):
        asked.append((n, settings))
        grid = SimpleNamespace(cell=2.0)
        instrument = SimpleNamespace(grid=grid, pb=[np.float32(0.5)])
        beams = np.array([[12.0, 9.0, 0.0]])
        for i in range(n):
            true = sky() * np.float32(i + 1)
            yield SimpleNamespace(
                sky=true, noisy=true + 1e-6, dirty=true * 10, instrument=instrument, beams=beams
            )

    monkeypatch.setattr("faintsky.simulating.simulated", fields)
    monkeypatch.setattr(tile_data, "_kept", {})
    return asked


def tiles_of(image):
    return image.reshape(4, 16, 4, 16).transpose(0, 2, 1, 3).reshape(-1, 16, 16)


def test_simulated_fields_become_tiles_once(simulated):
    data = make_tiles(source())
    assert make_tiles(source()) is data
    assert len(simulated) == 1
    assert simulated[0][1]["seed"] == tile_data.SEED + 3
    assert len(data.train) == 3 * 16
    assert len(data.held) == 16
    assert (data.cell, data.beam) == (2.0, 0.0)
    assert data.rms == pytest.approx(2.5 * robust_sigma(sky()))
    values = data.held.target / tile_data.STEPS
    np.testing.assert_allclose(
        LogScale.decode(values, data.held.target_limits), tiles_of(4 * sky()), rtol=3e-4
    )
    values = data.held.image / tile_data.STEPS
    np.testing.assert_allclose(
        LogScale.decode(values, data.held.image_limits), tiles_of(4 * sky() + 1e-6), rtol=3e-4
    )
    fewer = make_tiles(source(tiles=5))
    assert len(fewer.train) == 5
    assert {t.tobytes() for t in fewer.train.target} <= {t.tobytes() for t in data.train.target}


def test_each_product_is_the_input_of_its_model(simulated):
    identity, dirty = (make_tiles(source(product=p)) for p in ("sky", "dirty"))
    np.testing.assert_array_equal(identity.train.image, identity.train.target)
    # dirty images in Jy/beam are brought to Jy/arcsec2, and the truth is what the primary beam leaves
    ratio = 10 / (np.pi / (4 * np.log(2)) * 108) / 0.5
    image, target = (
        LogScale.decode(v / tile_data.STEPS, dirty.train.image_limits)
        for v in (dirty.train.image, dirty.train.target)
    )
    bright = target > 1e-6
    np.testing.assert_allclose(image[bright] / target[bright], ratio, rtol=2e-3)
    with pytest.raises(InputError, match="--data"):
        make_tiles(source(product="clean"))
    with pytest.raises(InputError, match="too few"):
        make_tiles(source(fields=1))
    with pytest.raises(InputError, match="smaller than a tile"):
        make_tiles(source(tile=128))


@pytest.fixture
def folder(tmp_path):
    """Three skies with their Clean images, a primary beam, and blank corners."""
    area = np.pi / (4 * np.log(2)) * 12 * 9
    cards = {"CDELT1": -2 / 3600, "CDELT2": 2 / 3600, "BMAJ": 12 / 3600, "BMIN": 9 / 3600}
    no_beam = {**cards, "BMAJ": None, "BMIN": None, "BPA": None}
    for i in range(3):
        header = cube_header(**no_beam, BUNIT="Jy/arcsec2")
        fits.writeto(tmp_path / f"{i:04d}_sky.fits", sky()[None], header)
        seen = 0.5 * sky() * area
        seen[:20, :20] = np.nan
        fits.writeto(tmp_path / f"{i:04d}_clean.fits", seen[None].astype(np.float32), cube_header(**cards))
    fits.writeto(
        tmp_path / "pb.fits", np.full((1, 64, 64), 0.5, np.float32), cube_header(**no_beam, BUNIT="")
    )
    return tmp_path


def test_stored_images_become_tiles(folder):
    data = make_tiles(source(data=folder, product="clean"))
    assert len(data.train) == 2 * 15  # the tile that is all blank is left out
    assert data.beam == pytest.approx(np.sqrt(108), abs=0.01)
    np.testing.assert_allclose(data.train.image.astype(int), data.train.target.astype(int), atol=3)
    (folder / "dataset.json").write_text(json.dumps({"parameters": {"pbcor": True}}))
    tile_data._kept.clear()
    data = make_tiles(source(data=folder, product="clean"))
    decades = (data.train.target.astype(float) - data.train.image) / tile_data.STEPS * 6
    assert np.median(decades[data.train.image > 20_000]) == pytest.approx(np.log10(2), abs=1e-3)
    with pytest.raises(InputError, match="has no noise image beside it"):
        make_tiles(source(data=folder, product="noise"))


def test_compact_data_become_the_same_tiles(tmp_path, monkeypatch):
    from faintsky import simulate_lofar

    monkeypatch.setattr(tile_data, "_kept", {})
    products = ("sky", "noise", "dirty", "pb", "compact")
    simulate_lofar(tmp_path, 3, seed=4, size=64, quick=True, integration="600s", products=products)
    for product in ("noise", "dirty"):
        plain = make_tiles(source(data=tmp_path, product=product))
        tile_data._kept.clear()
        (tmp_path / "kept").mkdir(exist_ok=True)
        hidden = [p.rename(tmp_path / "kept" / p.name) for p in tmp_path.glob("0*_sky.fits")]
        compact = make_tiles(source(data=tmp_path, product=product))
        for p in hidden:
            p.rename(tmp_path / p.name)
        # half precision, but for the floor, which values near it may fall to
        for name in ("image", "target"):
            pair = (getattr(t.train, name).astype(int) for t in (plain, compact))
            assert np.percentile(np.abs(np.subtract(*pair)), 99) < 10


def test_a_fresh_network_begins_at_the_mean_sky_and_a_trained_one_where_it_was(simulated):
    network, data = make_network("dda", tile=16, dense=4), make_tiles(source(product="noise"))
    TilePairs(network, data, TileSettings())
    mean = data.train.target.mean() / tile_data.STEPS
    assert torch.sigmoid(network.out.bias).item() == pytest.approx(mean, rel=1e-4)
    torch.nn.init.constant_(network.out.bias, 0.7)
    TilePairs(network, data, TileSettings())
    assert network.out.bias.item() == pytest.approx(0.7)


def test_scores_are_those_of_the_paper(simulated):
    network = make_network("dda", tile=16, dense=4)
    task = TilePairs(network, make_tiles(source(product="noise")), TileSettings())
    held = task.data.held

    class Passes(Same):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(()))

        def forward(self, x):
            return x + 0 * self.weight

    with torch.no_grad():
        scores = task.validate(Passes())
    truth = LogScale.decode(held.target / tile_data.STEPS, held.target_limits)
    made = LogScale.decode(held.image / tile_data.STEPS, held.image_limits)
    bright = truth > 1e-7
    assert scores["sigma_mre"] == pytest.approx((np.abs(made - truth) / truth)[bright].mean(), rel=1e-4)
    assert scores["loss"] == pytest.approx(
        (((held.image.astype(float) - held.target) / tile_data.STEPS) ** 2).mean(), rel=1e-4
    )
    edges = np.geomspace(1e-8, 1e-2, 51)
    counts = [np.histogram(v, edges)[0] for v in (made, truth)]
    assert scores["delta_c"] == pytest.approx(np.abs(counts[0] - counts[1]).sum() / truth.size, rel=1e-6)
    card = DdaRecipe().model_settings(task, Passes())
    assert card["product"] == "noise"
    # noise of 1e-6 everywhere is the error at every brightness
    np.testing.assert_allclose(card["error"], 1e-6, rtol=0.02)


def test_the_answer_is_corrected_to_the_mean_true_brightness(simulated):
    data = make_tiles(source(product="noise"))

    class Dims(Same):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(()))

        def forward(self, x):
            return x - 0.05 + 0 * self.weight  # half as bright, of six decades

    cards = {}
    for least in (0.0, 3e-6):
        given = TileSettings(product="noise", calibrate=least)
        task = TilePairs(make_network("dda", tile=16, dense=4), data, given)
        cards[least] = AutoencoderSettings(**DdaRecipe().model_settings(task, Dims()))
    assert cards[0.0].true == ()
    bright = np.float32([1e-7, 1e-4])
    assert np.all(cards[0.0].correction(bright) == 1)
    assert cards[3e-6].correction(bright) == pytest.approx([1, 10**0.3], rel=0.05)
    at = np.array(cards[3e-6].error_at)
    low, high = (np.array(cards[least].error)[at > 2e-5] for least in (3e-6, 0.0))
    assert np.all(low < 0.5 * high)


def test_tiles_without_emission_can_be_left_out(simulated):
    kept = {share: make_tiles(source(product="noise", empty=share)) for share in (1.0, 0.0)}
    lit = kept[1.0].train.target.any(axis=(1, 2))
    assert len(kept[0.0].train) == lit.sum()
    assert len(kept[0.0].held) == len(kept[1.0].held)


def test_batches_are_turned_alike(simulated):
    data = make_tiles(source(product="sky"))
    task = TilePairs(make_network("dda", tile=16, dense=4), data, TileSettings(augment=True))
    batch = task.take(np.random.default_rng(0), np.arange(20))
    assert batch["image"].shape == (20, 1, 16, 16)
    assert torch.equal(batch["image"], batch["target"])
    plain = TilePairs(task.network, data, TileSettings(augment=False)).take(
        np.random.default_rng(0), np.arange(20)
    )
    assert not torch.equal(batch["image"], plain["image"])
    assert torch.equal(batch["image"].flatten(1).sort().values, plain["image"].flatten(1).sort().values)

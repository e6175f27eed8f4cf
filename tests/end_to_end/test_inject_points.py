"""Points injected into an image: they are what they say, bright ones come back, numbers by measured S/N."""

import numpy as np
import pytest
from astropy.table import Table
from outputs import EXTENSIONS
from scipy.ndimage import maximum_filter

import faintsky
from faintsky.catalog import make_components, make_table, read_catalog
from faintsky.errors import InputError
from faintsky.image import RadioImage
from faintsky.injecting import PointPlace, by_measured_snr, compact_entries, recover
from faintsky.preparing import gaussian_psf, prepare_image

N, BEAM, RMS = 240, 4.0, 2e-4


@pytest.fixture(scope="module")
def image():
    """Noise correlated like an elongated beam, one bright source, and a blank border."""
    rng = np.random.default_rng(5)
    beam = np.fft.rfft2(np.fft.ifftshift(gaussian_psf((N, N), 5 / np.sqrt(2), 3.2 / np.sqrt(2), 30.0)))
    noise = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((N, N))) * beam, s=(N, N))
    y, x = np.indices((N, N))
    data = RMS * noise / noise.std() + 50 * RMS * np.exp(-((y - 60) ** 2 + (x - 60) ** 2) / 2 / 1.7**2)
    data[:, :10] = np.nan
    return RadioImage.from_array(data.astype(np.float32), cell=2.0, beam=[10.0, 6.4, 30.0])


def brightest(image):
    """A stand-in for a search: local maxima above five times the noise, as points."""
    p = prepare_image(image)
    y, x = np.nonzero((maximum_filter(p.data, 5) == p.data) & (p.scaled > 5))
    peak, rms = p.data[y, x].astype(float), p.rms[y, x]
    columns = {"x": x, "y": y, "flux": peak, "flux_err": rms, "snr": peak / rms, "pb": 0.5}
    # as if the primary beam were a half everywhere: fluxes are corrected for it
    columns |= {"flux": peak / 0.5, "id": np.arange(len(x)) + 1, "n_components": 1, "kind": "point"}
    return make_table(columns, two_d=True)


@pytest.fixture(scope="module")
def place(image):
    return PointPlace(image, prepare_image(image), brightest(image), brightest(image)[:0])


def test_points_are_where_and_as_bright_as_they_say(image, place):
    sources = place.draw(12, np.random.default_rng(1), (10.0, 20.0))
    assert len(sources) == 12
    added = place.with_sources(sources).data - image.data
    for s in sources:
        x, y = round(s["x"]), round(s["y"])
        assert 10 <= s["snr"] <= 20
        assert s["snr"] * place.prepared.rms[y, x] == pytest.approx(s["peak"])
        assert added[y, x] == pytest.approx(s["peak"], rel=0.15)  # up to half a pixel beside it
    # an isolated point of Jy/beam sums up to its flux times the beam's area
    assert np.nansum(added) == pytest.approx(np.sum(sources["flux"]) * place.prepared.beam_area, rel=0.01)
    assert np.isnan(added[:, :10]).all()
    far = np.hypot(sources["x"] - 60, sources["y"] - 60)
    assert far.min() > 1.4 * BEAM
    distances = np.hypot(*(np.asarray(sources[k])[:, None] - np.asarray(sources[k]) for k in "xy"))
    assert distances[distances > 0].min() > 3.9 * BEAM


def test_pairs_are_as_far_apart_as_they_say(image, place):
    pairs = PointPlace(image, place.prepared, place.own, place.negative, pairs=True)
    sources = pairs.draw(30, np.random.default_rng(2), (10.0, 20.0))
    seen = set()
    for k in np.unique(sources["pair"]):
        bright, faint = sources[sources["pair"] == k]
        apart = np.hypot(bright["x"] - faint["x"], bright["y"] - faint["y"])
        assert apart == pytest.approx(faint["separation"] * place.prepared.beam_pixels)
        assert faint["peak"] / bright["peak"] == pytest.approx(faint["ratio"])
        assert 10 <= faint["snr"] <= 20
        seen.add(float(faint["ratio"]))
    assert seen == {1.0, 0.2}


def test_bright_points_are_found_and_fluxes_are_the_image_s(place):
    sources, runs, others = recover(place, brightest, 60, 20, snr=(2.0, 30.0))
    assert len(sources) >= 60
    assert runs >= 3
    snr, found = np.asarray(sources["snr"]), np.asarray(sources["found"])
    assert found[snr > 9].all()
    assert not found[snr < 2.2].all()
    bright = snr > 9
    assert np.median(sources["found_flux"][bright] / sources["flux"][bright]) == pytest.approx(1, abs=0.1)
    assert others <= 1
    recovery = place.recovery(sources, (2.0, 30.0))
    rows = recovery.rows()
    assert len(rows) == 8
    assert rows[-1]["completeness"] == 1
    assert rows[-1]["flux_bias"] == pytest.approx(1, abs=0.15)
    assert place.with_completeness(recovery)["completeness"][0] > 0.9


def test_what_a_measured_snr_is_worth():
    sources = make_table({"x": [0.0] * 4}, two_d=True)
    sources["snr"] = [4.0, 4.0, 8.0, 9.0]
    sources["flux"] = [1.0, 1.0, 2.0, 2.0]
    sources["found_snr"] = [5.5, 5.5, 8.0, np.nan]
    sources["found_flux"] = [1.4, 1.2, 2.0, np.nan]
    sources["found_deboosted"] = [1.1, 1.1, 2.0, np.nan]
    own, negative = (make_table({"snr": s}, two_d=True) for s in ([5.2, 5.3, 7.5], [5.1]))
    rows = by_measured_snr(sources, own, negative, np.array([3.0, 5.0, 6.0, 10.0]))
    np.testing.assert_allclose(rows["flux_bias"], [np.nan, 1.2, 1.0])
    np.testing.assert_allclose(rows["deboosted_bias"], [np.nan, 1.1, 1.0])
    np.testing.assert_allclose(rows["reliability"], [np.nan, 0.5, 1.0])


def test_entries_are_objects_or_the_components_of_blends():
    columns = {"id": [1, 2, 3], "n_components": [1, 2, 1], "kind": ["point", "complex", "diffuse"]}
    catalog = make_table(columns | {"flux": [1.0, 5.0, 9.0], "island": [1, 2, 3]}, two_d=True)
    parts = {"id": [1, 2, 2, 3], "kind": ["point", "point", "point", "diffuse"], "flux": [1.0, 2.0, 3.0, 9.0]}
    entries = compact_entries(catalog, make_components(parts | {"island": [1, 2, 2, 3]}, two_d=True))
    assert sorted(entries["flux"]) == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("kind", ["points", "pairs"])
def test_points_through_the_command_s_function(image, tmp_path, kind):
    out = tmp_path / "out"
    result = faintsky.inject(image, out, sources=kind, n=24, per_run=12, snr_low=4.0, snr_high=60.0)
    assert {p.name for p in out.iterdir()} == {
        "completeness.csv", "completeness.png", "report.html", "injected.ecsv", "run.json",
        *(f"catalog.{end}" for end in EXTENSIONS),
    }  # fmt: skip
    table, sources = Table.read(out / "completeness.csv"), result.sources
    assert {"completeness", "flux_bias", "deboosted_bias", "reliability"} <= set(table.colnames)
    # the bright members of pairs lie beyond the range
    assert table["n"].sum() == (np.asarray(sources["snr"]) < 60).sum() > 10
    bright = (sources["snr"] > 12) & ((sources["separation"] == 0) | (sources["separation"] > 2))
    assert sources["found"][bright].all()
    ratio = sources["found_flux"][bright] / sources["flux"][bright]
    assert np.median(ratio) == pytest.approx(1, abs=0.1)
    assert result.facts["sources_of_the_image"] == len(read_catalog(out / "catalog.fits")) >= 1
    assert "reliability" in (out / "report.html").read_text()


@pytest.mark.usefixtures("quick_workers")
def test_runs_may_be_spread(image):
    how = {"sources": "points", "n": 24, "per_run": 12, "snr_low": 4.0, "snr_high": 60.0}
    one, two = (faintsky.inject(image, **how, jobs=jobs).sources for jobs in (1, 2))
    assert len(one) == 24
    for name in ("run", "x", "snr", "found", "found_flux"):
        np.testing.assert_array_equal(one[name], two[name])


def test_what_is_injected_must_suit_the_data(image):
    with pytest.raises(InputError, match="lines are not injected into an image"):
        faintsky.inject(image, sources="lines")
    with pytest.raises(InputError, match="looks for lines in cubes"):
        faintsky.inject(image, sources="points", model="smooth_clip")

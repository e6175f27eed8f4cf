"""`faintsky.inject`: what is put into a cube is what comes out, and the contract of its files."""

import json
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from scipy.linalg import toeplitz
from synthetic import Emitter, telescope

import faintsky
from faintsky.errors import InputError
from faintsky.injecting import CubePlace, place_in_cube, recovery_of
from faintsky.matching import fit_completeness
from faintsky.preparing import ChannelCorrelation, prepare_cube

N, N_CHAN, SIGMA = 64, 32, 1e-3
SURE = 0.995  # few peaks of the noise of these small cubes pass
T = telescope(N)
BRIGHT = {
    "n": 9,
    "per_run": 3,
    "snr_low": 25,
    "snr_high": 40,
    "seed": 2,
    "reliability": SURE,
    "device": "cpu",
}
OWN = T.at_snr(Emitter(20.0, 40.0, 16.0, maj=4, min=3, fwhm_z=5), 40, SIGMA, N_CHAN)


def user_cube(seed=3):
    return T.radio_cube(T.cube([OWN], N_CHAN, sigma=SIGMA, seed=seed))


@pytest.fixture(scope="module")
def place():
    """An empty cube's field: nothing of its own."""
    cube = T.radio_cube(T.cube([], N_CHAN, sigma=SIGMA, seed=3))
    return place_in_cube(cube, Table({"x": np.zeros(0)}), None, prepare_cube(cube))


def test_correlated_channels_take_brighter_lines():
    """Hanning's correlations of 2/3 and 1/6 make the noise of wide lines up to 1.63 times as strong."""
    cube = T.radio_cube(T.cube([], 96, sigma=SIGMA, seed=3))
    prepared = prepare_cube(cube)
    assert prepared.channels is None
    hanning = ChannelCorrelation(toeplitz(np.r_[1.01, 2 / 3, 1 / 6, np.zeros(93)]), 2.0)
    plain, smoothed = (
        place_in_cube(cube, Table({"x": np.zeros(0)}), None, one).draw(
            8, np.random.default_rng(4), (9.0, 9.1)
        )
        for one in (prepared, replace(prepared, channels=hanning))
    )
    np.testing.assert_array_equal(plain["z"], smoothed["z"])
    lines = np.exp(-4 * np.log(2) * ((np.arange(96) - plain["z"][:, None]) / plain["fwhm_z"][:, None]) ** 2)
    inverse = np.linalg.inv(hanning.matrix)
    expected = np.sqrt((lines**2).sum(axis=1) / np.einsum("ni,ij,nj->n", lines, inverse, lines))
    ratio = np.asarray(smoothed["line_flux_peak"] / plain["line_flux_peak"])
    np.testing.assert_allclose(ratio, expected, rtol=0.07)  # the channels' noise is known to 5 %
    assert expected.max() > 1.5


def test_an_injected_source_is_what_the_telescope_would_show(place):
    rng = np.random.default_rng(1)
    sources = place.draw(1, rng, (20.0, 20.1))
    s = sources[0]
    added = place.with_sources(sources).data - place.data.data
    cell = place.data.grid.cell
    twin = Emitter(
        s["x"], s["y"], s["z"], s["line_flux_peak"], s["dc_maj"] / cell, s["dc_min"] / cell, s["dc_pa"],
        s["fwhm_z"],
    )  # fmt: skip
    expected = T.cube([twin], N_CHAN, seed=None)
    # the psf is known to half an image away only: what lies farther is not there
    near = np.s_[
        :, max(round(s["y"]) - 20, 0) : round(s["y"]) + 20, max(round(s["x"]) - 20, 0) : round(s["x"]) + 20
    ]
    assert added[near] == pytest.approx(expected[near], abs=float(3e-3 * expected.max()))
    # its S/N and its flux are those of an independent sum
    assert T.snr(twin, SIGMA, N_CHAN) == pytest.approx(s["snr"], rel=0.05)
    z = np.arange(-200, 200)
    line = twin.flux * np.exp(-4 * np.log(2) * ((z - twin.z) / twin.fwhm_z) ** 2).sum()
    assert s["flux"] == pytest.approx(line * 2.99792458e5 * 10e6 / 230.3e9, rel=1e-2)


def test_sources_keep_away_from_each_other_from_blanks_and_from_what_is_there():
    data = user_cube().data.copy()
    data[:, :, :12] = np.nan
    cube = T.radio_cube(data)
    own = Table(
        {"x_min": [14], "x_max": [26], "y_min": [34], "y_max": [46], "z_min": [np.nan], "z_max": [np.nan]}
    )
    place = place_in_cube(cube, own, None, prepare_cube(cube))
    for k in range(5):
        s = place.draw(6, np.random.default_rng(k), (5, 10))
        x, y = np.asarray(s["x"]), np.asarray(s["y"])
        assert (x > 13).all()
        assert not ((x < 26) & (y > 34) & (y < 46)).any()
        gaps = np.hypot(x[:, None] - x, y[:, None] - y)[np.triu_indices(len(x), 1)]
        assert (gaps > 3 * place.prepared.beam_pixels).all()
    nowhere = CubePlace(cube, place.prepared, np.ones(cube.shape, bool), own)
    assert len(nowhere.draw(3, np.random.default_rng(0), (5, 10))) == 0


@pytest.fixture(scope="module")
def bright(tmp_path_factory):
    out = tmp_path_factory.mktemp("inject") / "out"
    return out, faintsky.inject(user_cube(), out, **BRIGHT)


def test_bright_sources_come_back_with_their_flux(bright):
    _, result = bright
    assert len(result.sources) == 9
    assert result.sources["found"].all()
    ratio = result.sources["found_flux"] / result.sources["flux"]
    assert np.median(ratio) == pytest.approx(1, abs=0.06)
    assert np.abs(result.sources["found_x"] - result.sources["x"]).max() < 1
    assert result.sources["found_snr"] == pytest.approx(result.sources["snr"], rel=0.25)
    assert result.facts["sources_of_the_cube"] == 1
    assert result.facts["other_detections_per_run"] < 1  # its own source, in each run, is no new one


def test_noise_is_not_taken_for_sources():
    result = faintsky.inject(
        user_cube(), n=6, per_run=6, snr_low=0.5, snr_high=1.0, reliability=SURE, device="cpu"
    )
    assert result.sources["found"].sum() == 0
    assert np.isnan(result.recovery.at_level.value)


def test_files_of_the_contract_and_the_same_run_again(bright):
    out, result = bright
    assert {p.name for p in out.iterdir()} == {
        "completeness.csv", "completeness.png", "report.html", "injected.ecsv", "run.json",
    }  # fmt: skip
    table = Table.read(out / "completeness.csv")
    assert table["n"].sum() == 9
    assert len(Table.read(out / "injected.ecsv")) == 9
    assert "9 of 9 found" in (out / "report.html").read_text()
    again = faintsky.inject(user_cube(), out, **BRIGHT)
    assert again.facts["already_complete"]
    with pytest.raises(InputError, match="another run"):
        faintsky.inject(user_cube(), out, **BRIGHT | {"seed": 3})
    assert result.facts["found"] == 9


def test_recovery_is_what_was_put_in():
    rng = np.random.default_rng(4)
    snr = rng.uniform(3, 15, 2000)
    found = rng.uniform(size=2000) < 1 / (1 + (6 / snr) ** 10)
    flux = np.where(found, 1.1, np.nan)
    table = Table(
        {"snr": snr, "found": found, "flux": np.ones(2000), "found_flux": flux, "run": np.arange(2000)}
    )
    recovery = recovery_of(table)
    assert recovery.curve.middle == pytest.approx(6, rel=0.03)
    assert abs(recovery.at_level.value - 1 / (1 + (6 / 7) ** 10)) < 4 * recovery.at_level.error < 0.15
    assert recovery.flux_ratio[-1] == pytest.approx(1.1)
    assert recovery.completeness.n.sum() == 2000
    assert fit_completeness(snr, found).top == pytest.approx(1, abs=0.02)


def test_bad_input_is_one_clear_line(tmp_path):
    image = tmp_path / "image.fits"
    header = fits.Header({"CTYPE1": "RA---SIN", "CTYPE2": "DEC--SIN", "CDELT1": -1e-4, "CDELT2": 1e-4})
    fits.PrimaryHDU(np.zeros((32, 32), np.float32), header).writeto(image)
    with pytest.raises(InputError, match="it is blank"):
        faintsky.inject(image, tmp_path / "out")
    with pytest.raises(InputError, match="not a range"):
        faintsky.inject(user_cube(), snr_low=8, snr_high=3)
    with pytest.raises(InputError, match="n 0 is out of range; give at least 1"):
        faintsky.inject(user_cube(), n=0)
    with pytest.raises(InputError, match="no room"):
        faintsky.inject(user_cube(), n=2, mask=np.eye(1, N * N, dtype=np.float32).reshape(N, N), device="cpu")
    assert not (tmp_path / "out").exists()


def test_a_dry_run_writes_nothing(tmp_path):
    plan = faintsky.inject(user_cube(), tmp_path / "out", n=25, per_run=10, dry_run=True)
    assert plan.facts["searches"] == 4
    assert json.dumps(plan.facts, default=str)
    assert not (tmp_path / "out").exists()

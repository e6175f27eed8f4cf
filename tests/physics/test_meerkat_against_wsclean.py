"""MeerKAT against WSClean's own products for the same track, on a small copy (see tests/data/README.md)."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from faintsky.simulating import ImageTelescope, SimulationSettings
from faintsky.sky import gaussian_image
from faintsky.telescopes import telescope as record_of

DATA = Path(__file__).parents[1] / "data" / "meerkat_wsclean"


@pytest.fixture(scope="module")
def theirs():
    with np.load(DATA / "small.npz") as file:
        return {name: file[name] for name in file.files}


@pytest.fixture(scope="module")
def telescope():
    """The reference's observation, with no primary beam."""
    known = json.loads((DATA / "small.json").read_text())
    hours, freq = known.pop("hours"), known.pop("freq_hz")
    observation = SimulationSettings(**known, total_time=hours * 3600, freq=freq).observation
    made = ImageTelescope(observation, keep=False)
    made.instrument = replace(made.instrument, pb=np.ones_like(made.instrument.pb))
    return made


def test_baselines_from_the_dishes_positions(telescope, theirs):
    assert telescope.sampling.track.n_shadowed == 0
    assert np.abs(telescope.sampling.track.uvw[::97] - theirs["uvw_m"]).max() < 0.05
    assert np.abs(telescope.sampling.weight[::97] - theirs["imaging_weight"]).max() < 0.02


def test_psf_and_beam(telescope, theirs):
    y, x = (n // 2 for n in theirs["psf"].shape)
    assert np.abs(telescope.psf()[y:-y, x:-x] - theirs["psf"] / 30000).max() < 1e-3
    assert telescope.beam == pytest.approx(theirs["beam"], rel=0.002)


def test_noise_free_dirty_image(telescope, theirs):
    grid, peak = telescope.instrument.grid, float(theirs["dirty_peak"])
    model = sum(row[5] * gaussian_image(grid, *row[:5]) for row in theirs["sources"])
    dirty = telescope.dirty((model / grid.cell**2).astype(np.float32), 0.0, np.random.SeedSequence(0))
    assert np.abs(dirty - theirs["dirty"] / 30000 * peak).max() < 1e-3 * peak


def test_primary_beam():
    """Half of it at 57.5 arcmin / 2 at 1.5 GHz, a null beyond, and nothing odd where both terms vanish."""
    beam, half = record_of("meerkat").beam, np.deg2rad(57.5 / 120)
    assert float(beam(half, 1.5e9, 13.5)) == pytest.approx(0.5, abs=2e-3)
    assert float(beam(half * 1.5, 1.0e9, 13.5)) == pytest.approx(0.5, abs=2e-3)
    radius = np.linspace(0, 3 * half, 20_001)
    power = beam(radius, 1.5e9, 13.5)
    assert power[0] == 1
    assert np.abs(np.diff(power)).max() < 1e-3
    assert power.min() < 1e-6


def test_noise_of_a_visibility():
    """Noise of an hour of all baselines at natural weight, from the dishes' SEFD."""
    observation = SimulationSettings(telescope="meerkat", preset="lines").observation
    sigma = record_of("meerkat").sigma(np.array([1.35e9]), 209e3, 60.0)
    assert sigma == pytest.approx(426 / np.sqrt(2 * 209e3 * 60))
    natural = replace(
        observation, robust=None, total_time=3600.0, grid=replace(observation.grid, n_y=64, n_x=64)
    )
    from faintsky.simulating import build_instrument

    whole = build_instrument(replace(natural, spectral=replace(natural.spectral, n_chan=2)))
    rows = whole.record["rows"]
    assert whole.sigma[0] == pytest.approx(sigma[0] / np.sqrt(2 * rows), rel=0.01)

"""The LOFAR simulator against WSClean's own products, on small copies of them (see tests/data/README.md)."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.time import Time

from faintsky.grid import ImageGrid
from faintsky.simulating import (
    ImageTelescope,
    Sampling,
    SimulationSettings,
    build_instrument,
    dirty_image,
    fit_beam_wsclean,
    gridded,
    imaging_weights,
    noise_factor,
    predict_visibilities,
)
from faintsky.sky import gaussian_image
from faintsky.telescopes import everybeam_beam, gaussian_beam, load_array, make_track, transit
from faintsky.telescopes import telescope as record_of

DATA = Path(__file__).parents[1] / "data" / "lofar_wsclean"
GRID = ImageGrid(2000, 2000, 2.0, 180.0, 55.0)
START = float(Time("2021-03-20T19:40:00", scale="utc").mjd)


def facts_of(name):
    with np.load(DATA / f"{name}.npz") as file:
        return {k: file[k] for k in file.files}


@pytest.fixture(scope="module")
def default():
    return facts_of("default")


@pytest.fixture(scope="module")
def their_uvw(default):
    stations = default["station_uvw_m"]
    one, two = np.triu_indices(stations.shape[1], k=1)
    return (stations[:, two] - stations[:, one]).reshape(-1, 3)


@pytest.fixture(scope="module")
def sampling():
    return Sampling(SimulationSettings(telescope="lofar", start=START, primary_beam="gaussian").observation)


@pytest.fixture(scope="module")
def small():
    return facts_of("small")


@pytest.fixture(scope="module")
def telescope(small):
    """The small reference's observation, with no primary beam."""
    n = int(small["size"])
    observation = SimulationSettings(
        telescope="lofar", size=n, start=str(small["start"]), total_time=float(small["hours"]) * 3600,
        freq=float(small["freq_hz"]), primary_beam="gaussian",
        **{k: float(small[k]) for k in ("cell", "ra", "dec", "integration", "robust")},
    ).observation  # fmt: skip
    made = ImageTelescope(observation, keep=False)
    instrument = build_instrument(observation, made.sampling)
    made.instrument = replace(instrument, pb=np.ones((1, n, n), dtype=np.float32))
    return made


@pytest.fixture(scope="module")
def small_sky(small, telescope):
    """Jy/arcsec2"""
    grid = telescope.instrument.grid
    model = sum(row[5] * gaussian_image(grid, *row[:5]) for row in small["sources"])
    return (model / grid.cell**2).astype(np.float32)


def test_stations_stand_where_the_measurement_set_has_them(default):
    array = load_array("lofar.hba.dutch")
    assert sum(name.startswith("CS") for name in array.pads) == 48
    assert sum(name.startswith("RS") for name in array.pads) == 14
    theirs = np.linalg.norm(default["station_uvw_m"] - default["station_uvw_m"][:, :1], axis=-1)
    ours = np.linalg.norm(array.itrf - array.itrf[0], axis=-1)
    assert np.abs(theirs - ours).max() < 0.002


def test_baselines_within_half_a_metre(sampling, their_uvw):
    assert sampling.track.uvw.shape == (907680, 3)
    assert np.abs(sampling.track.uvw - their_uvw).max() < 0.5


def test_weights_given_their_baselines(default, their_uvw):
    weight = imaging_weights(their_uvw, 150e6, GRID, 0.0, "wsclean").reshape(480, -1)[::16]
    theirs = default["imaging_weight"]
    assert (theirs == 0).any()
    assert np.abs(weight - theirs).max() < 1e-6


def psf_parts(uvw, weight):
    """Middle and corner of the psf, as the reference has them."""
    ones = np.ones(len(weight), dtype=np.complex64)
    grids = GRID.padded(256, 256), replace(GRID, n_y=64, n_x=64)
    return [dirty_image(ones, weight, uvw, 150e6, grid) for grid in grids]


def test_psf_given_their_baselines(default, their_uvw):
    weight = imaging_weights(their_uvw, 150e6, GRID, 0.0, "wsclean")
    middle, corner = psf_parts(their_uvw, weight)
    assert np.abs(middle - default["psf"] / 30000).max() < 1e-4
    assert np.abs(corner - default["psf_corner"] / 30000).max() < 1e-4


def test_psf_and_beam_from_station_positions(default, sampling):
    middle, corner = psf_parts(sampling.track.uvw, sampling.weight)
    assert np.abs(middle - default["psf"] / 30000).max() < 1e-3
    assert np.abs(corner - default["psf_corner"] / 30000).max() < 1e-3
    major, minor, pa = fit_beam_wsclean(middle)
    assert [2 * major, 2 * minor, pa] == pytest.approx(default["beam"], rel=0.002)


def test_noise_of_a_visibility(default, sampling):
    assert 1e-4 / noise_factor(sampling.weight) == pytest.approx(
        float(default["sigma_visibility_jy"]), rel=1e-4
    )


def test_the_gaussian_stands_in_for_the_primary_beam(default):
    assert np.abs(gaussian_beam(GRID.radius()[::50, ::50], 150e6) - default["primary_beam"]).max() < 0.005


def test_primary_beam_by_everybeam(default):
    if record_of("lofar").choose_beam("auto") != "everybeam":
        pytest.skip("the extra 'lofar' is not installed")
    times = START + (np.arange(10) + 0.5) / 30
    ours = everybeam_beam(GRID, 150e6, times)[::50, ::50]
    assert np.abs(ours - default["primary_beam"]).max() < 2e-4


def test_the_default_track_is_the_references(sampling):
    """Centred on transit on 2021-03-20, which is where the reference begins, within two minutes."""
    observation = SimulationSettings(telescope="lofar", primary_beam="gaussian").observation
    assert abs(observation.begin() - START) * 1440 < 2
    angle = np.rad2deg(observation.track().hour_angle)
    assert abs(angle[0] + angle[-1]) < 0.01
    late = replace(observation, hour_angle=1.5)
    assert np.rad2deg(late.track().hour_angle).mean() == pytest.approx(22.5, abs=0.01)


def test_transit_is_when_the_hour_angle_is_zero():
    array = load_array("lofar.hba.dutch")
    for ra, dec in ((0.0, 20.0), (250.0, 70.0)):
        when = transit(array, ra, dec, 59293.0)
        assert 59293 <= when < 59294.01
        track = make_track(array, ra, dec, total_time=2.0, integration=2.0, start=when - 1 / 86400)
        assert abs(np.rad2deg(track.hour_angle[0])) < 1e-3


def test_another_observation_from_station_positions(small, telescope, small_sky):
    """Another field, day, frequency, robustness and size: baselines, psf, beam and dirty image."""
    sampling = telescope.sampling
    assert np.abs(sampling.track.uvw[::97] - small["uvw_m"]).max() < 0.5
    y, x = (n // 2 for n in small["psf"].shape)
    assert np.abs(telescope.psf()[y:-y, x:-x] - small["psf"] / 30000).max() < 1e-3
    assert telescope.instrument.beams[0] == pytest.approx(small["beam"], rel=0.002)
    dirty = telescope.dirty(small_sky, 0.0, np.random.SeedSequence(0))
    peak = float(small["dirty_peak"])
    assert np.abs(dirty - small["dirty"] / 30000 * peak).max() < 1e-3 * peak


def test_quick_is_near(telescope, small, small_sky):
    """On a field of ten arcmin the w term hardly matters; the documented 2 % are those of a whole degree."""
    quick = ImageTelescope(telescope.observation, quick=True, keep=False)
    quick.instrument = telescope.instrument
    dirty = quick.dirty(small_sky, 0.0, np.random.SeedSequence(0))
    theirs = small["dirty"] / 30000 * float(small["dirty_peak"])
    assert (dirty - theirs).std() < 5e-3 * theirs.std()


@pytest.mark.parametrize("way", ["visibilities", "quick"])
def test_noise_of_the_image(telescope, way):
    """Its rms, and its power spectrum beside the gridded squares of the weights."""
    quick = ImageTelescope(telescope.observation, quick=way == "quick", keep=False)
    quick.instrument, quick.sampling = telescope.instrument, telescope.sampling
    grid = telescope.instrument.grid
    empty = np.zeros(grid.shape, dtype=np.float32)
    images = [quick.dirty(empty, 1e-4, s).astype(float) for s in np.random.SeedSequence(3).spawn(8)]
    assert np.std(images) == pytest.approx(1e-4, rel=0.01)
    density = gridded(
        telescope.sampling.track.uvw, telescope.observation.freq, grid, telescope.sampling.weight**2
    )
    power = np.mean([np.abs(np.fft.fft2(v)) ** 2 for v in images], axis=0)
    radius = np.hypot(np.fft.fftfreq(grid.n_y)[:, None], np.fft.fftfreq(grid.n_x)[None])
    ring = np.minimum((radius / 0.03).astype(int), 8).ravel()
    ours, expected = (
        np.bincount(ring, plane.ravel(), minlength=9)[:8] for plane in (power, np.fft.ifftshift(density))
    )
    assert np.abs(ours / ours.sum() / (expected / expected.sum()) - 1).max() < 0.06


def test_visibilities_are_the_sum_over_the_sky(telescope):
    """Against the measurement equation itself, with the phase centre off the image's middle."""
    grid = replace(telescope.instrument.grid, n_y=65, n_x=50, x0=12.0, y0=70.0)
    rng = np.random.default_rng(0)
    model = np.zeros(grid.shape, dtype=np.float32)
    places = [(3, 5), (60, 40), (31, 0)]
    fluxes = rng.uniform(1, 2, 3)
    uvw = telescope.sampling.track.uvw[::9973]
    wavelengths = uvw * telescope.observation.freq / 299792458.0
    expected = np.zeros(len(uvw), dtype=complex)
    for (y, x), flux in zip(places, fluxes, strict=True):
        model[y, x] = flux
        east, north = -(x - grid.x0) * grid.cell_rad, (y - grid.y0) * grid.cell_rad
        height = np.sqrt(1 - east**2 - north**2) - 1
        phase = wavelengths @ np.array([east, north, height])
        expected += flux * np.exp(2j * np.pi * phase)
    vis = predict_visibilities(model, uvw, telescope.observation.freq, grid)
    assert np.abs(vis - expected).max() < 1e-3
    back = dirty_image(vis, np.ones(len(uvw)), uvw, telescope.observation.freq, grid)
    y, x = places[1]
    east, north = -(x - grid.x0) * grid.cell_rad, (y - grid.y0) * grid.cell_rad
    phase = wavelengths @ np.array([east, north, np.sqrt(1 - east**2 - north**2) - 1])
    assert back[y, x] == pytest.approx(np.mean((expected * np.exp(-2j * np.pi * phase)).real), abs=1e-3)

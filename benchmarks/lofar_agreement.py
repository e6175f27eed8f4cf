"""How closely the fast LOFAR simulator agrees with WSClean, and how far ``--quick`` is off.

Compares with a reference made by WSClean 3.1: a folder with ``sky.fits.gz``, ``primary_beam.fits.fz``,
``dirty.fits.fz``, ``dirty_noisy.fits.fz``, ``psf.fits.fz`` and ``uvw_weights.npz``. Writes
``benchmarks/results/lofar_agreement.json``::

    python -m benchmarks.lofar_agreement --reference DIR
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.time import Time

from faintsky.grid import ImageGrid
from faintsky.simulating import (
    ImageTelescope,
    Sampling,
    SimulationSettings,
    build_instrument,
    dirty_image,
    gridded,
    imaging_weights,
    noise_factor,
    predict_visibilities,
)
from faintsky.system import one_thread
from faintsky.telescopes import gaussian_beam, telescope
from reproduction import common

FREQ, ROBUST, RMS = 150e6, 0.0, 1e-4
GRID = ImageGrid(2000, 2000, 2.0, 180.0, 55.0)
START = "2021-03-20T19:40:00"


def image(folder, name):
    return fits.getdata(next(folder.glob(f"{name}.fits.*"))).astype(float)


def worst(ours, theirs, scale=1.0):
    return float(np.abs(ours - theirs).max() / scale)


def given_their_baselines(reference, model, dirty, psf, facts):
    """Weights, visibilities, dirty image and psf from the reference's own uvw and primary beam."""
    stations = facts["station_uvw_m"]
    uvw = (stations[:, facts["ant2"]] - stations[:, facts["ant1"]]).reshape(-1, 3)
    weight = imaging_weights(uvw, FREQ, GRID, ROBUST, "wsclean")
    vis = predict_visibilities(model, uvw, FREQ, GRID)
    step, theirs = int(facts["vis_model_row_step"]), facts["vis_model"]
    off = vis[::step] - theirs
    ones = np.ones(len(uvw), dtype=np.complex64)
    sigma = RMS / noise_factor(weight)
    return {
        "weights": worst(weight, facts["imaging_weight"].ravel()),
        "visibilities_rms": float(np.sqrt(np.mean(np.abs(off) ** 2) / np.mean(np.abs(theirs) ** 2))),
        "dirty": worst(dirty_image(vis, weight, uvw, FREQ, GRID), dirty, dirty.max()),
        "psf": worst(dirty_image(ones, weight, uvw, FREQ, GRID), psf),
        "visibility_noise_ratio": sigma / float(facts["sigma_vis_stokes_i_jy"]),
    }, uvw


def from_stations(reference, sky, pb, dirty, psf, uvw, header):
    """The same from station positions, as the simulator does it; and the quick way beside it."""
    everybeam = telescope("lofar").choose_beam("auto") == "everybeam"
    start = float(Time(START, scale="utc").mjd)
    observation = SimulationSettings(
        telescope="lofar", start=start, robust=ROBUST, primary_beam="gaussian"
    ).observation
    began = time.process_time()
    sampling = Sampling(observation)
    instrument = build_instrument(observation, sampling)
    result = {"instrument_cpu_seconds": round(time.process_time() - began, 1)}
    result["uvw_m"] = worst(sampling.track.uvw, uvw)
    result["psf"] = worst(sampling.psf(GRID), psf)
    beam = np.array([header[k] for k in ("BMAJ", "BMIN", "BPA")]) * [3600, 3600, 1]
    result["beam_wsclean"], result["beam_ours"] = beam.tolist(), instrument.beams[0].tolist()
    result["primary_beam_gaussian"] = worst(gaussian_beam(GRID.radius(), FREQ), pb)
    telescope = ImageTelescope(observation, keep=False)
    telescope.instrument = replace(instrument, pb=pb[None].astype(np.float32))
    seeds = np.random.SeedSequence(1).spawn(2)
    began = time.process_time()
    clean = telescope.dirty(sky, 0.0, seeds[0])
    result["image_cpu_seconds"] = round(time.process_time() - began, 2)
    noise = (telescope.dirty(sky, RMS, seeds[0]) - clean).astype(float)
    result["dirty"] = worst(clean, dirty, dirty.max())
    result["noise_rms"] = float(noise.std())
    theirs = image(reference, "dirty_noisy") - dirty
    result["noise_rms_wsclean"] = float(theirs.std())
    density = gridded(sampling.track.uvw, FREQ, GRID, sampling.weight**2)
    result["noise_spectrum"] = spectrum_error(noise, density)
    result["noise_spectrum_wsclean"] = spectrum_error(theirs, density)
    if everybeam:
        own = replace(observation, primary_beam="everybeam")
        result["primary_beam_everybeam"] = worst(build_instrument(own, sampling, flat=False).pb[0], pb)
    telescope.instrument = instrument  # which has the Gaussian beam
    gaussian = telescope.dirty(sky, 0.0, seeds[0])
    result["dirty_with_gaussian_beam"] = worst(gaussian, dirty, dirty.max())
    telescope = ImageTelescope(observation, quick=True, keep=False)
    telescope.instrument = replace(instrument, pb=pb[None].astype(np.float32))
    telescope.dirty(sky, 0.0, seeds[1])
    began = time.process_time()
    fast = telescope.dirty(sky, 0.0, seeds[1])
    seconds = round(time.process_time() - began, 2)
    drawn = (telescope.dirty(sky, RMS, seeds[1]) - fast).astype(float)
    off = fast - dirty
    quick = {
        "image_cpu_seconds": seconds,
        "dirty_rms": float(off.std() / dirty.std()),
        "dirty_largest": worst(fast, dirty, dirty.max()),
        "psf": worst(telescope.sampling.psf(telescope.instrument.grid), psf),
        "noise_rms": float(drawn.std()),
        "noise_spectrum": spectrum_error(drawn, density),
    }
    return result, quick


def spectrum_error(noise, density):
    """Largest relative difference between the power spectrum of noise and the gridded squares of weights.

    In rings of 0.025 cycles a pixel out to a quarter of a cycle, beyond which there are few baselines; both
    to a sum of 1 there.
    """
    n = len(noise)
    radius = np.hypot(np.fft.fftfreq(n)[:, None], np.fft.fftfreq(n)[None])
    ring = np.minimum((radius / 0.025).astype(int), 10).ravel()
    power = []
    for plane in (np.abs(np.fft.fft2(noise)) ** 2, np.fft.ifftshift(density)):
        rings = np.bincount(ring, plane.ravel(), minlength=11)[:10]
        power.append(rings / rings.sum())
    return float(np.abs(power[0] / power[1] - 1).max())


def main():
    parser = common.parser(__doc__)
    parser.add_argument("--reference", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=common.BENCHMARKS)
    options = parser.parse_args()
    folder = options.reference
    sky, pb = image(folder, "sky").astype(np.float32), image(folder, "primary_beam")
    dirty, psf = image(folder, "dirty"), image(folder, "psf")
    header = fits.getheader(folder / "psf.fits.fz", 1)
    facts = np.load(folder / "uvw_weights.npz")
    with one_thread():
        given, uvw = given_their_baselines(folder, sky * pb * GRID.cell**2, dirty, psf, facts)
        own, quick = from_stations(folder, sky, pb, dirty, psf, uvw, header)
    result = {"given_their_baselines": given, "from_station_positions": own, "quick": quick}
    common.write("lofar_agreement.json", result, options.out)


if __name__ == "__main__":
    main()

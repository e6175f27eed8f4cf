"""How closely the fast ALMA simulator agrees with CASA.

Compares the tests' reference, and folders that ``tools/casa_observe.py`` left, with the same observation by
faintsky (the folders' through the public function with ``sky`` and ``array``), and writes
``benchmarks/results/casa_agreement.json``::

    faintsky simulate alma --out sky --no-noise --products sky --seed 1
    python tools/casa_observe.py --sky sky/0000_sky.fits --array alma.cycle9.3 --out casa_c3
    python -m benchmarks.alma_agreement casa_c3 ...
"""

from __future__ import annotations

import csv
import json
import tempfile
from pathlib import Path

import numpy as np
from astropy.io import fits

import faintsky
from faintsky.grid import FWHM_PER_SIGMA, paper_frame_to_sky
from faintsky.simulating import SimulationSettings, open_observatory
from faintsky.sky import SkyModel, gaussian_image
from faintsky.source_model import line_profile
from reproduction import common

SMALL = Path(__file__).parents[1] / "tests" / "data" / "alma_casa_c3"
FIELD = np.rad2deg(1.047194642314511), np.rad2deg(-0.6108628141296099)


def inner(cube):
    """The inner half of each plane."""
    n = cube.shape[-1] // 4
    return cube[..., n:-n, n:-n]


def over_peak(ours, theirs, scale):
    """Largest difference of any channel over the channel's peak; blanks apart."""
    return float((np.nanmax(np.abs(ours - theirs), axis=(1, 2)) / scale).max())


def settings_of(folder):
    """The observation's record and the same as faintsky's arguments."""
    record = json.loads((folder / "observation.json").read_text())
    robust = record.get("robust")
    return record, {
        "sky": folder / "sky.fits",
        "array": record["array"].removesuffix(".cfg"),
        "hour_angle": record["hour_angle"],
        "total_time": record["total_time"],
        "integration": record["integration"],
        "pwv": record["pwv"],
        "weighting": "natural" if robust is None else f"briggs:{robust:g}",
    }


def beams_of(path):
    """Beams of every channel, ``[chan, 3]`` [arcsec, arcsec, deg]."""
    table = fits.getdata(path, "BEAMS")
    return np.stack([table[k].astype(float) for k in ("BMAJ", "BMIN", "BPA")], axis=1)


def compare(folder):
    """Numbers of one observation."""
    record, settings = settings_of(folder)
    theirs = {p: fits.getdata(folder / f"clean.{p}.fits").astype(float) for p in ("image", "psf", "pb")}
    with tempfile.TemporaryDirectory() as out:
        faintsky.simulate_alma(out, noise=False, **settings)
        ours = {
            p: fits.getdata(Path(out) / f"{name}.fits").astype(float)
            for p, name in (("image", "0000_dirty"), ("psf", "psf"), ("pb", "pb"))
        }
    observatory = open_observatory(SimulationSettings(telescope="alma", **settings))
    instrument, track = observatory.instrument, observatory.settings.observation.track()
    peak = np.nanmax(np.abs(theirs["image"]), axis=(1, 2))
    sample = np.load(folder / "uvw.npz")
    beams = beams_of(folder / "clean.image.fits")
    noise = (fits.getdata(folder / "noisy.image.fits") - theirs["image"]).astype(float)
    rms = np.nanstd(noise, axis=(1, 2))
    turned = (instrument.beams[:, 2] - beams[:, 2] + 90) % 180 - 90
    result = {
        **{k: v for k, v in record.items() if k != "visibility_sigma_jy"},
        "shape": list(theirs["image"].shape),
        "cell_arcsec": instrument.grid.cell,
        "field_deg": [instrument.grid.ra, instrument.grid.dec],
        "freq_hz": float(instrument.spectral.frequencies()[instrument.spectral.n_chan // 2]),
        "channel_width_hz": instrument.spectral.width,
        "rows_ours": int(instrument.record["rows"]),
        "dirty_inner_half": over_peak(inner(ours["image"]), inner(theirs["image"]), peak),
        "dirty_whole_image": over_peak(ours["image"], theirs["image"], peak),
        "psf_inner_half": over_peak(inner(ours["psf"]), inner(theirs["psf"]), 1.0),
        "primary_beam": float(
            np.nanmax(np.abs(np.where(theirs["pb"] > 0, ours["pb"] - theirs["pb"], np.nan)))
        ),
        "beam_major_relative": float(np.abs(instrument.beams[:, 0] / beams[:, 0] - 1).max()),
        "beam_minor_relative": float(np.abs(instrument.beams[:, 1] / beams[:, 1] - 1).max()),
        "beam_pa_deg": float(np.abs(turned).max()),
        "noise_rms_mean_casa_jy": float(rms.mean()),
        "noise_rms_mean_ours_jy": float(instrument.sigma.mean()),
        "noise_rms_ratio": float(instrument.sigma.mean() / rms.mean()),
    }
    if record["flagged_rows"] == 0:
        result["uvw_m"] = float(np.abs(track.uvw[::97] - sample["uvw_m"]).max())
        result["visibility_noise_ratio"] = float(_visibility_ratio(observatory, track, record))
    return result


def compare_small(folder):
    """Numbers of the default observation, from the small copy that the tests use."""
    facts = np.load(folder / "telescope.npz")
    observatory = open_observatory(
        SimulationSettings(telescope="alma", preset="empty", ra=FIELD[0], dec=FIELD[1])
    )
    instrument, track = observatory.instrument, observatory.settings.observation.track()
    sky = reference_sky(folder / "sources.csv", instrument, float(facts["sky_scale"]))
    ours = {"dirty": observatory.telescope.dirty(sky).numpy(), "psf": instrument.psf_cube()}
    result = {"array": "alma.cycle9.3.cfg", "shape": [128, 360, 360], "cell_arcsec": 0.1, "freq_hz": 230e9}
    for name, cube in ours.items():
        with np.load(folder / f"{name}.npz") as file:
            theirs = file["values"] / 30000.0 * file["peak"][:, None, None]
            scale = file["peak"] if name == "dirty" else 1.0
            result[f"{name}_inner_half"] = over_peak(inner(cube[file["channels"]]), theirs, scale)
    beams, rms = facts["beams"], facts["image_rms"]
    cut = np.where(instrument.valid(), instrument.pb_cube(), 0)[[0, 64, 127], ::5, ::5]
    return {
        **result,
        "primary_beam": float(np.abs(cut - facts["pb"]).max()),
        "uvw_m": float(np.abs(track.uvw[::97] - facts["uvw_m"]).max()),
        "beam_major_relative": float(np.abs(instrument.beams[:, 0] / beams[:, 0] - 1).max()),
        "beam_minor_relative": float(np.abs(instrument.beams[:, 1] / beams[:, 1] - 1).max()),
        "beam_pa_deg": float(np.abs((instrument.beams[:, 2] - beams[:, 2] + 90) % 180 - 90).max()),
        "noise_rms_mean_casa_jy": float(rms.mean()),
        "noise_rms_mean_ours_jy": float(instrument.sigma.mean()),
        "noise_rms_ratio": float(instrument.sigma.mean() / rms.mean()),
    }


def reference_sky(path, instrument, scale):
    """The reference's sources (amplitudes in its own unit), laid as the simulator lays its own."""
    freq, images, spectra = instrument.spectral.frequencies(), [], []
    with path.open() as file:
        for row in csv.DictReader(file):
            s = {k: float(v) for k, v in row.items()}
            maj, minor, pa = (float(v) for v in paper_frame_to_sky(s["fwhm_x"], s["fwhm_y"], s["pa_deg"]))
            images.append(gaussian_image(instrument.grid, s["x"], s["y"], maj, minor, pa))
            area = 2 * np.pi / FWHM_PER_SIGMA**2 * maj * minor
            continuum = s["amplitude"] * area * (freq[0] / freq) ** s["spectral_index"]
            line = line_profile(np.arange(freq.size), s["line_centre"], s["line_fwhm"])
            spectra.append(scale * continuum * (1 + s["line_amplitude"] * line))
    spectra = np.array(spectra)
    return SkyModel(instrument.grid, instrument.spectral, np.stack(images), spectra, np.zeros_like(spectra))


def _visibility_ratio(observatory, track, record):
    from faintsky.telescopes import visibility_sigma

    o = observatory.settings.observation
    variance = [
        visibility_sigma(
            o.spectral.frequencies(), o.spectral.width, o.integration, pwv=o.pwv, elevation=float(e)
        )
        ** 2
        for e in track.elevation
    ]
    return np.mean(np.sqrt(np.mean(variance, axis=0)) / np.array(record["visibility_sigma_jy"]))


def main():
    parser = common.parser(__doc__)
    parser.add_argument("runs", nargs="*", type=Path)
    parser.add_argument("--out", type=Path, default=common.BENCHMARKS)
    options = parser.parse_args()
    results = {"default, C-3 (tests/data)": compare_small(SMALL)}
    results |= {folder.name: compare(folder) for folder in options.runs}
    common.write("casa_agreement.json", results, options.out)


if __name__ == "__main__":
    main()

"""Small psfs of many arrays, in one file for the training on images.

Each entry is a uv plane of ``PSF_SIDE x PSF_SIDE`` cells with the gridded weights of a random array,
declination, track, weighting and cell. Its transform is a psf that repeats every `PSF_SIDE` pixels; noise is
drawn from the squared weights. The repetition does no harm, because training images are periodic as well.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from faintsky.arrays import Array32, Float
from faintsky.errors import InputError
from faintsky.grid import SPEED_OF_LIGHT, ImageGrid
from faintsky.options import Progress
from faintsky.simulating.imaging import fit_beam, gridded, imaging_weights
from faintsky.sky import log_uniform
from faintsky.system import replacing
from faintsky.telescopes import TELESCOPES, load_array, make_track, telescope
from faintsky.units import quantity

PSF_SIDE = 256
"""Side of the uv planes and of the images made with them [pixel]."""
BEAM_PIXELS = (2.5, 8.0)
"""Range of the beam's geometric mean FWHM [pixel]."""
_TRIES = 20


@dataclass(frozen=True)
class PsfLibrary:
    """Psfs and noise of random arrays, from `make_library`.

    Parameters
    ----------
    transfer : array
        ``[entry, PSF_SIDE, PSF_SIDE // 2 + 1]``, float32: fraction of the weights in every uv cell. Its sum
        over the whole plane is 1, so that it is the transform of a psf of peak 1.
    noise : array
        Power of the noise: the same for the squared weights.
    beams : array
        ``[entry, 3]``: FWHM of the major and the minor axis [pixel], position angle [deg].
    record : list of dict
        Array, declination, time and weighting of every entry.
    """

    transfer: Array32
    noise: Array32
    beams: Float
    record: list[dict[str, float | str]]

    def save(self, path: Path) -> None:
        """Write everything to one ``.npz`` file, in half precision."""
        path.parent.mkdir(parents=True, exist_ok=True)
        planes = {"transfer": self.transfer, "noise": self.noise}
        peaks = {f"{k}_peak": v.max(axis=(1, 2)) for k, v in planes.items()}
        half = {k: (v / peaks[f"{k}_peak"][:, None, None]).astype(np.float16) for k, v in planes.items()}
        record = np.array(json.dumps(self.record))
        with replacing(path) as name, name.open("wb") as file:
            np.savez_compressed(file, beams=self.beams, record=record, **half, **peaks)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote.

        Raises
        ------
        InputError
            If it is not such a file.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                transfer, noise = (
                    file[k].astype(np.float32) * file[f"{k}_peak"][:, None, None].astype(np.float32)
                    for k in ("transfer", "noise")
                )
                return cls(transfer, noise, file["beams"], json.loads(str(file["record"])))
        except (OSError, KeyError, ValueError) as error:
            raise InputError("not a library of psfs", "delete it; it will be made again", path) from error


def make_library(count: int, seed: int, progress: Progress | None = None) -> PsfLibrary:
    """Observe random fields with random arrays.

    Tracks last from two minutes to eight hours, weights are from natural to robust -1, and the cell is such
    that the beam is `BEAM_PIXELS` wide.

    Parameters
    ----------
    count : int
        Number of entries.
    seed : int
        Seed of the fields.
    progress : callable, optional
        Called with entries done, entries in all, and a word.

    Returns
    -------
    PsfLibrary
    """
    rng = np.random.default_rng([seed, PSF_SIDE])
    entries = []
    for i in range(count):
        entries.append(_entry(rng))
        if progress is not None:
            progress(i + 1, count, "psfs")
    transfer, noise, beams, record = zip(*entries, strict=True)
    return PsfLibrary(np.stack(transfer), np.stack(noise), np.array(beams), list(record))


def _entry(
    rng: np.random.Generator,
) -> tuple[Array32, Array32, tuple[float, float, float], dict[str, float | str]]:
    # the order of draws must not change, as it decides the result of a seed
    records = [telescope(name) for name in reversed(TELESCOPES)]
    choices = [(name, r, r.library) for r in records if r.library for name in r.library.arrays]
    for _ in range(_TRIES):
        name, record, library = choices[int(rng.choice(len(choices)))]
        array, freq = load_array(name), quantity(record.defaults["freq"], "frequency", "")
        dec = float(rng.uniform(*library.dec))
        hours = log_uniform(rng, 1 / 30, library.hours)
        robust = None if rng.random() < 0.3 else float(rng.uniform(-1, 1.5))
        wanted = log_uniform(rng, *BEAM_PIXELS)
        time, steps = hours * 3600, int(np.clip(round(hours * 20), 1, 60))
        try:
            uvw = make_track(array, 0.0, dec, total_time=time, integration=time / steps).uvw
        except InputError:  # too low in the sky
            continue
        cell = (
            np.rad2deg(SPEED_OF_LIGHT / freq / np.sqrt((uvw[:, :2] ** 2).sum(axis=1).mean())) * 3600 / wanted
        )
        for _ in range(4):
            grid = ImageGrid(PSF_SIDE, PSF_SIDE, cell)
            weight = imaging_weights(uvw, freq, grid, robust)
            density = gridded(uvw, freq, grid, weight)
            transfer = np.fft.ifftshift(density)[:, : PSF_SIDE // 2 + 1] / density.sum()
            psf = np.fft.fftshift(np.fft.irfft2(transfer, s=(PSF_SIDE, PSF_SIDE))) * PSF_SIDE**2
            major, minor, pa = fit_beam(psf / psf.max())
            cell *= np.sqrt(major * minor) / wanted
        if minor < 1.8 or major > 3 * minor or abs(np.sqrt(major * minor) / wanted - 1) > 0.1:
            continue
        power = gridded(uvw, freq, grid, weight**2)
        noise = np.fft.ifftshift(power)[:, : PSF_SIDE // 2 + 1] / power.sum()
        fact: dict[str, float | str] = {
            "array": name, "dec": round(dec, 2), "hours": round(hours, 3),
            "robust": "natural" if robust is None else round(robust, 2), "cell": float(f"{grid.cell:.4g}"),
        }  # fmt: skip
        return transfer.astype(np.float32), noise.astype(np.float32), (major, minor, pa), fact
    raise RuntimeError("no psf of the wanted size in many tries")

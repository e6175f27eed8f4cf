"""CASA as a backend: the same skies observed by simobserve and tclean, in a separate process.

CASA comes from the extra ``casa``, or from another interpreter named by the environment variable
``FAINTSKY_CASA_PYTHON``, which may be of another Python version and needs only CASA.

The sky, the target S/N and the truth are those of the fast telescope. Thermal noise is CASA's own
(``tsys-atm``, with a seed for each cube). The noise that brings a cube to its S/N is added to the
visibilities.
"""

import json
import os
import shutil
import tempfile
from dataclasses import dataclass, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from faintsky.arrays import Array32, Bool
from faintsky.errors import InputError
from faintsky.io import write_fits
from faintsky.simulating.cubes import CubeObservatory
from faintsky.simulating.imaging import noise_factor
from faintsky.simulating.instrument import Instrument, Observation, Sampling, data_header
from faintsky.simulating.settings import SimulationSettings
from faintsky.sky import SkyModel
from faintsky.system import run_program
from faintsky.telescopes import AntennaArray

PYTHON = "FAINTSKY_CASA_PYTHON"
_PROGRAM = Path(__file__).with_name("casa_run.py")


def casa_python() -> str:
    """Path of an interpreter that has CASA.

    Raises
    ------
    InputError
        If neither this one nor the one named by ``FAINTSKY_CASA_PYTHON`` has it.
    """
    import sys

    given = os.environ.get(PYTHON)
    if given:
        path = shutil.which(given)
        if path is None:
            raise InputError(f"{PYTHON} names no program", "set it to a Python that has casatasks", given)
        return path
    if find_spec("casatasks") and find_spec("casatools"):
        return sys.executable
    raise InputError(
        "CASA is not installed", f"install faintsky[casa], or set {PYTHON} to a Python that has it"
    )


@dataclass(frozen=True)
class CasaInstrument(Instrument):
    """An instrument with psf and primary beam from CASA.

    Parameters
    ----------
    psf, primary : array
        ``[chan, y, x]``; the primary beam is NaN where it is below the cutoff.
    """

    psf: Array32
    primary: Array32

    def psf_cube(self) -> Array32:
        """Psf of every channel, ``[chan, y, x]``."""
        return self.psf.copy()

    def pb_cube(self) -> Array32:
        """Primary beam, ``[chan, y, x]``."""
        return self.primary.copy()

    def valid(self) -> Bool:
        """Where the primary beam is above the cutoff, ``[chan, y, x]``."""
        return np.isfinite(self.primary)


class CasaObservatory(CubeObservatory):
    """An observatory whose dirty cubes are made by CASA; see `Observatory` for the arguments."""

    def __init__(self, settings: SimulationSettings, *how: Any) -> None:
        casa_python()
        _check(settings.observation)
        super().__init__(settings, *how)

    def receive(
        self, sky: SkyModel, clean: torch.Tensor, extra: float, noise_seed: int
    ) -> tuple[Array32, Instrument]:
        """See `CubeObservatory.receive`; here the cube is observed by CASA."""
        settings = self.settings
        white = settings.extra_noise == "white"
        received = 0.0 if white or not settings.noise else extra
        how: dict[str, Any] = {"noise": settings.noise, "seed": noise_seed, "extra": received}
        seen = run_casa(sky.as_cube(), self.observation, **how)
        dirty = seen["dirty"]
        if settings.noise and white and extra > 0:
            rng = np.random.default_rng(noise_seed)
            dirty += rng.normal(0, extra, dirty.shape).astype(np.float32)
        if settings.pbcor:
            dirty /= seen["pb"]
        own = {f.name: getattr(self.instrument, f.name) for f in fields(Instrument)}
        own |= {"beams": seen["beams"], "record": {**self.instrument.record, "casa": seen["casa"]}}
        return dirty, CasaInstrument(**own, psf=seen["psf"], primary=seen["pb"])


def run_casa(
    sky: Array32,
    observation: Observation,
    *,
    noise: bool = True,
    seed: int = 0,
    extra: float = 0.0,
    keep: Path | None = None,
) -> dict[str, Any]:
    """Observe a sky with CASA.

    Parameters
    ----------
    sky : array
        ``[chan, y, x]`` [Jy/pixel]
    observation : Observation
        Array, field, channels and track.
    noise : bool, optional
        Add CASA's ``tsys-atm`` noise.
    seed : int, optional
        Seed of all noise.
    extra : float, optional
        Further noise that is added to the visibilities: its standard deviation in the dirty image [Jy/beam].
    keep : Path, optional
        A new folder for a copy of all that CASA has written.

    Returns
    -------
    dict
        ``dirty``, ``psf`` and ``pb`` ``[chan, y, x]``, float32; the first and the last are NaN where the
        primary beam is below 0.2. ``beams`` ``[chan, 3]`` [arcsec, arcsec, deg]. ``casa`` (version), ``rows``
        and ``flagged_rows``.

    Raises
    ------
    InputError
        If CASA is missing, or cannot observe this.
    FaintskyError
        If CASA fails; with the last line of its output.
    """
    program, grid, spectral = casa_python(), observation.grid, observation.spectral
    _check(observation)
    # noise of the dirty image over that of a visibility's real part, for two polarisations
    factor = noise_factor(Sampling(observation).weight) / np.sqrt(2)
    same = ("freq", "hour_angle", "total_time", "integration", "pwv", "robust")
    job = {
        **{name: getattr(observation, name) for name in same},
        "sky": "sky.fits",
        "array": f"{observation.array.name}.cfg",
        "channel_width": spectral.width,
        "size": [grid.n_x, grid.n_y],
        "cell": grid.cell,
        "noise": noise,
        "seed": seed % (2**31 - 1) + 1,
        "extra_sigma": extra / factor if extra > 0 else 0.0,
        "extra_seed": seed,
    }
    with tempfile.TemporaryDirectory(prefix="faintsky_casa_") as name:
        folder = Path(name)
        header = data_header(grid, spectral, "Jy/pixel", observation.record.title, {})
        write_fits(folder / "sky.fits", sky, header)
        if observation.array.name not in observation.record.arrays:
            job["array"] = "array.cfg"
            _write_cfg(folder / "array.cfg", observation.array, observation.record.title)
        (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
        _run(program, folder)
        seen = _read(folder)
        if keep is not None:
            shutil.copytree(folder, keep)
    return seen


def _check(observation: Observation) -> None:
    grid = observation.grid
    if observation.start is not None:
        raise InputError("simobserve takes no start", "give the hour angle, or choose the backend fast")
    if (grid.x0, grid.y0) != (grid.n_x // 2, grid.n_y // 2) or observation.spectral.width < 0:
        raise InputError(
            "CASA's images have the phase centre in the middle and increasing frequencies",
            "choose the backend fast, or another sky",
        )


def _write_cfg(path: Path, array: AntennaArray, title: str) -> None:
    lines = [f"# observatory={title}", "# coordsys=XYZ"]
    for position, pad in zip(array.itrf, array.pads, strict=True):
        lines.append(" ".join([*(f"{p:.6f}" for p in position), f"{array.diameter:g}", pad]))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _run(program: str, folder: Path) -> None:
    # CASA must neither import this interpreter's packages nor write to the home folder
    keep = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    environment = {**keep, "HOME": str(folder), "MPLBACKEND": "Agg"}
    # the program ends when its standard input closes, so it does not outlive this process
    command = [program, str(_PROGRAM), "job.json"]
    run_program(command, folder, "CASA", leaves="facts.json", environment=environment)


def _read(folder: Path) -> dict[str, Any]:
    from astropy.io import fits

    cubes = {}
    for name in ("dirty", "psf", "pb"):
        data = np.asarray(fits.getdata(folder / f"{name}.fits"), dtype=np.float32)
        cubes[name] = data.reshape(-1, *data.shape[-2:])
    with fits.open(folder / "dirty.fits") as hdus:
        header = hdus[0].header
        if "BEAMS" in hdus:
            beams = np.stack([hdus["BEAMS"].data[k] for k in ("BMAJ", "BMIN", "BPA")], axis=1).astype(float)
        else:
            one = [header["BMAJ"] * 3600, header["BMIN"] * 3600, header["BPA"]]
            beams = np.tile(one, (len(cubes["dirty"]), 1))
    cubes["pb"][~np.isfinite(cubes["dirty"])] = np.nan
    facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    return {**cubes, **facts, "beams": beams % np.array([np.inf, np.inf, 180.0])}

"""Sets of samples with their truth: cubes, and fields, which are images of several kinds.

They are read from the folders of ``faintsky simulate``, or simulated one at a time.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table

from faintsky.arrays import Array32, Float
from faintsky.errors import InputError
from faintsky.evaluation.commands import SIZE
from faintsky.image import RadioCube, RadioImage
from faintsky.io import open_cube, open_image
from faintsky.matching import column
from faintsky.preparing import autocorrelation, robust_sigma, surface_brightness
from faintsky.simulating import (
    UNIT_BEAM,
    Instrument,
    SimulationSettings,
    at_resolution,
    beside,
    open_observatory,
    parameters_of,
    read_compact,
)

KINDS = ("noise", "dirty", "clean_ideal")
"""White noise on the sky itself; the dirty image with its psf; the image of a perfect deconvolution (the true
sky at the clean beam's resolution, plus the dirty image's noise)."""
ALL_KINDS = ("sky", "noise", "dirty", "clean", "clean_ideal")
"""These, the true sky without noise, and the image of a real deconvolution, which must be stored."""
STORED = ("noise", "dirty", "clean")
PRESETS = ("paper", "lotss")
FIELDS = ("sky1", "sky2")
"""Fields of a cosmic web: with a massive cluster, with groups."""
REACH = 128
"""Separation up to which the correlation of the noise is measured [pixel]."""
CALIBRATION = 77
"""Part of the seed of the noise from which the correlation is measured."""
COMMAND = "faintsky simulate lofar"
NOMINAL = 1e-4
"""Noise to which S/N refers for images without noise [Jy/beam]."""


@dataclass(frozen=True, eq=False)
class Field:
    """One image and its true sky.

    Parameters
    ----------
    image : RadioImage
        With psf and primary beam if its kind has them.
    truth : array
        True sky times the primary beam, at the image's resolution if it has one, ``[y, x]``, in the image's
        unit.
    rms : float
        Noise, in the same unit.
    correlation : array or None
        Correlation of the noise between pixels; None if white.
    width : float
        FWHM of the beam [pixel]; 3 for white noise, the papers' 6 arcsec.
    kind : str, optional
        One of `ALL_KINDS`.
    sharp : array, optional
        True sky times the primary beam, without the image's beam, ``[y, x]`` [Jy/arcsec2].
    clean : array, optional
        Image of a real deconvolution of a dirty image, in its unit, ``[y, x]``.
    cases : str, optional
        Name of its set.
    """

    image: RadioImage
    truth: Array32
    rms: float
    correlation: Float | None
    width: float
    kind: str = ""
    sharp: Array32 | None = None
    clean: Array32 | None = None
    cases: str = ""

    @cached_property
    def brightness(self) -> float:
        """Factor from the image's unit to Jy/arcsec2."""
        return surface_brightness(self.image)

    @property
    def area(self) -> float:
        """Area of the field [deg2]."""
        return float(self.truth.size * (self.image.grid.cell / 3600) ** 2)

    @property
    def beam(self) -> tuple[float, float, float] | None:
        """FWHMs [pixel] and angle [deg] of the image's beam; None if its noise is white."""
        if self.correlation is None:
            return None
        self.image.require_beam()
        assert self.image.pixel_beams is not None
        major, minor, pa = map(float, self.image.pixel_beams[0])
        return major, minor, pa


def _resolved(sky: Array32, pb: Array32 | None, beam: Any, cell: float) -> tuple[Array32, Array32, float]:
    """A sky times the primary beam, with a beam [Jy/beam] and without [Jy/arcsec2]; the FWHM [pixel]."""
    sharp = sky if pb is None else sky * np.nan_to_num(pb)
    truth = np.maximum(at_resolution(sharp * cell**2, beam, cell), 0).astype(np.float32)
    return truth, sharp, float(np.sqrt(beam[0] * beam[1])) / cell


@dataclass(frozen=True)
class SimulatedFields:
    """Fields simulated when loaded, with one psf for the whole field (``--quick``).

    Sky, noise and dirty image of field i are those of sample i of ``simulate lofar --preset PRESET --quick``
    with this seed and size (and ``--web WEB --field FIELD``, if given).

    Parameters
    ----------
    preset : str
        One of `faintsky.simulate_lofar`'s presets.
    kind : str
        One of `ALL_KINDS` except ``clean``.
    indices : tuple of int
        Numbers of the fields.
    seed, size : int
        Seed and size of the data set.
    web, field : str
        The cosmic web from which skies are drawn, and one of `FIELDS`.
    """

    preset: str
    kind: str
    indices: tuple[int, ...]
    seed: int = 0
    size: int = SIZE
    web: str = ""
    field: str = ""

    @property
    def name(self) -> str:
        """Preset, or field of the web, and kind."""
        words = (self.field if self.web else self.preset, self.kind)
        return " ".join((self.preset, *words) if self.web and self.preset != "paper" else words)

    def load(self, index: int, empty: bool = False) -> Field | None:
        """Simulate one field, or pure noise with a seed that no field has (None for a noise-free sky)."""
        if empty and self.kind == "sky":
            return None
        observatory = _observatory(self.preset, self.size, self.web, self.field)
        telescope, rms = observatory.telescope, observatory.settings.rms
        grid, beam = telescope.instrument.grid, telescope.instrument.beams[0]
        details = {"cell": grid.cell, "ra": grid.ra, "dec": grid.dec}
        # the two fields of a web have different noise if empty
        word = 2 if self.field == "sky2" else 1
        seeds = np.random.SeedSequence([self.seed, index, word] if empty else [self.seed, index]).spawn(4)
        sky = np.zeros(grid.shape, np.float32)
        if not empty:
            sky = observatory.draw(np.random.default_rng(seeds[1]), telescope.observation)
        if self.kind in ("sky", "noise"):
            rms = rms / UNIT_BEAM
            white = np.random.default_rng(seeds[3]).standard_normal(grid.shape, dtype=np.float32)
            seen = sky if self.kind == "sky" else sky + np.float32(rms) * white
            image = RadioImage.from_array(seen, unit="Jy/arcsec2", **details)
            return Field(image, sky, rms, None, 6.0 / grid.cell, self.kind, sky, cases=self.name)
        truth, sharp, width = _resolved(sky, telescope.pb, beam, grid.cell)
        freq = [telescope.observation.freq]
        details |= {"unit": "Jy/beam", "beam": beam, "pb": telescope.pb, "frequencies": freq}
        if self.kind == "dirty":
            image = RadioImage.from_array(telescope.dirty(sky, rms, seeds[2]), psf=telescope.psf(), **details)
        else:
            noise = telescope.dirty(np.zeros_like(sky), rms, seeds[2])
            image = RadioImage.from_array(truth + noise, **details)
        correlation = _correlation(self.preset, self.size)
        return Field(image, truth, rms, correlation, width, self.kind, sharp, cases=self.name)


@lru_cache(maxsize=2)
def _observatory(preset: str, size: int, web: str = "", field: str = "") -> Any:
    drawn: Any = {"web": web, "field": field} if web else {}
    return open_observatory(
        SimulationSettings(telescope="lofar", preset=preset, size=size, quick=True, **drawn)
    )


@lru_cache(maxsize=4)
def _correlation(preset: str, size: int) -> Float:
    """Correlation of a preset's noise."""
    telescope = _observatory(preset, size).telescope
    blank = np.zeros((size, size), np.float32)
    noise = [telescope.dirty(blank, 1.0, s) for s in np.random.SeedSequence(CALIBRATION).spawn(12)]
    everywhere, reach = np.ones(blank.shape, bool), min(REACH, size // 2)
    return np.mean([autocorrelation(n, everywhere, reach) for n in noise], axis=0)


def simulated_sets(
    preset: Sequence[str], kinds: Sequence[str], n: int, seed: int, size: int, web: str | None = None
) -> list[SimulatedFields]:
    """Sets of every kind of image of every preset, and of every field in a cosmic web.

    Parameters
    ----------
    preset : sequence of str
        Presets of `faintsky.simulate_lofar`.
    kinds : sequence of str
        Of `ALL_KINDS`.
    n : int
        Fields of each set.
    seed : int
        Seed of the fields.
    size : int
        Side of a field [pixel].
    web : str, optional
        A cosmic web.

    Returns
    -------
    list of SimulatedFields

    Raises
    ------
    InputError
        For an unknown web.
    """
    fields: Sequence[str] = ("",)
    if web is not None:
        from faintsky.sky.web import check_web, open_web, split_of

        check_web(web)
        fields = FIELDS if split_of(web) else [f for f in FIELDS if open_web(web).of_kind(f)]
    numbers = tuple(range(n))
    return [
        SimulatedFields(p, k, numbers, seed, size, web or "", f) for p, f, k in product(preset, fields, kinds)
    ]


@dataclass(frozen=True)
class FolderFields:
    """Fields of a folder written by ``faintsky simulate lofar``, as FITS or compact files.

    The noise of dirty and clean images is assumed to be correlated like the psf, which is exact only for
    natural weighting.

    Parameters
    ----------
    folder : str
        Holds ``NNNN_sky.fits``, images, psf and primary beam, or ``NNNN_compact.npz``.
    kind : str
        One of `STORED`, or ``sky``.
    indices : tuple of int
        Numbers of the fields.
    label : str, optional
        Label of the data in the set's name: by default the web's field in its record, or the folder's name.
    """

    folder: str
    kind: str
    indices: tuple[int, ...]
    label: str = ""

    @property
    def name(self) -> str:
        """Label and kind."""
        return f"{self.label or Path(self.folder).resolve().name} {self.kind}"

    def load(self, index: int, empty: bool = False) -> Field | None:
        """One field; None for empty ones, which do not exist."""
        if empty:
            return None
        stored = Path(f"{self.folder}/{index:04d}_sky.fits").is_file()
        image, sky, rms, psf, clean = self._files(index) if stored else self._compact(index)
        cell = image.grid.cell
        if self.kind in ("sky", "noise"):
            rms = rms or robust_sigma(image.data - sky) or NOMINAL / UNIT_BEAM
            return Field(image, sky, rms, None, 6.0 / cell, self.kind, sky, cases=self.name)
        pb = None if image.pb is None else image.pb[0]
        truth, sharp, width = _resolved(sky, pb, image.require_beam()[0], cell)
        rms = rms or robust_sigma(image.data - truth) or NOMINAL
        correlation = None
        if psf is not None:
            y, x = (n // 2 for n in psf.shape)
            half = min(y, x, REACH + 1) - 1
            correlation = psf[y - half : y + half + 1, x - half : x + half + 1].astype(np.float64)
        return Field(image, truth, rms, correlation, width, self.kind, sharp, clean, self.name)

    def _files(self, index: int) -> tuple[RadioImage, Array32, float, Any, Any]:
        """Image, sky, rms (0 if unknown), psf and clean image (or None)."""
        stem, recorded = Path(self.folder) / f"{index:04d}", parameters_of(self.folder)
        known = float(recorded.get("rms", 0.0)) if recorded.get("noise") else 0.0
        true = open_image(f"{stem}_sky.fits")
        sky = true.data * np.float32(surface_brightness(true))
        if self.kind == "sky":
            image = RadioImage.from_array(sky, cell=true.grid.cell, unit="Jy/arcsec2")
            return image, sky, known / UNIT_BEAM, None, None
        if self.kind == "noise":
            image = open_image(f"{stem}_noise.fits")
            return image, sky, float(image.header.get("NOISE", 0.0)), None, None
        psf, pb = (beside(self.folder, stem.name, kind) for kind in ("psf", "pb"))
        dirty, cleaned = self.kind == "dirty", Path(f"{stem}_clean.fits")
        image = open_image(f"{stem}_{self.kind}.fits", pb=pb, psf=psf if dirty else None)
        clean = open_image(cleaned).data if dirty and cleaned.is_file() else None
        rms = float(image.header.get("NOISE", known))
        return image, sky, rms, None if psf is None else open_image(psf).data, clean

    def _compact(self, index: int) -> tuple[RadioImage, Array32, float, Any, Any]:
        """The same from a compact file."""
        kept = read_compact(Path(self.folder) / f"{index:04d}_compact.npz")
        if self.kind in ("sky", "noise"):
            image = RadioImage.from_array(kept[self.kind], cell=kept["cell"], unit="Jy/arcsec2")
            return image, kept["sky"], kept["sigma"], None, None
        # the file holds only the centre of the psf
        whole = beside(self.folder, f"{index:04d}", "psf")
        psf = kept["psf"] if whole is None else open_image(whole).data
        dirty = self.kind == "dirty"
        image = RadioImage.from_array(
            kept[self.kind], cell=kept["cell"], unit="Jy/beam", beam=kept["beam"], pb=kept["pb"],
            psf=psf if dirty else None,
        )  # fmt: skip
        return image, kept["sky"], kept["rms"], psf, kept.get("clean") if dirty else None


def open_fields(
    folders: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    n: int | None = None,
    kinds: Sequence[str] = STORED,
) -> list[FolderFields]:
    """Sets of the fields in folders of ``faintsky simulate lofar``, by kind.

    Parameters
    ----------
    folders : path-like or sequence of path-like
        The folders.
    n : int, optional
        Number of fields; by default all.
    kinds : sequence of str, optional
        Kinds of images, of `STORED` or ``sky``.

    Returns
    -------
    list of FolderFields

    Raises
    ------
    InputError
        If there is no such folder, it holds no field with its sky, fewer than ``n``, or images that are
        corrected for the primary beam, so that their noise varies.
    """
    if isinstance(folders, str | os.PathLike):
        folders = [folders]
    known = [parameters_of(f) for f in folders]
    labels = [str(p.get("field") or "") for p in known]
    sets = []
    for folder, record, label in zip(map(Path, folders), known, labels, strict=True):
        if record.get("pbcor"):
            raise InputError("its images are corrected for the primary beam", "give others", folder)
        compact = numbered(folder, "compact.npz", "truth.ecsv", COMMAND)
        held = ("sky", "noise", *np.load(folder / f"{compact[0]:04d}_compact.npz").files) if compact else ()
        found = []
        for kind in kinds:
            indices = numbered(folder, f"{kind}.fits", "sky.fits", COMMAND) or compact * (kind in held)
            if indices:
                # two folders of the same field are named by folder
                own = label if labels.count(label) == 1 else ""
                found.append(FolderFields(str(folder), kind, tuple(indices[:n]), own))
        if not found:
            raise InputError(
                f"has no NNNN_{'.fits, NNNN_'.join(kinds)}.fits with its NNNN_sky.fits, and no compact files",
                f"give a folder written by {COMMAND}", folder,
            )  # fmt: skip
        fewest = min(len(s.indices) for s in found)
        if n is not None and fewest < n:
            raise InputError(f"holds {fewest} fields, not {n}", f"ask for -n {fewest} or fewer", folder)
        sets += found
    return sets


@dataclass(frozen=True)
class FolderCubes:
    """Cubes of a folder written by ``faintsky simulate alma``.

    Parameters
    ----------
    folder : str
        Holds ``NNNN_dirty.fits``, ``NNNN_truth.ecsv``, ``dataset.json``, and the psf and primary beam of all
        (``psf.fits``, ``pb.fits``) or of each (``NNNN_psf.fits``, ``NNNN_pb.fits``).
    indices : tuple of int
        Numbers of the cubes.
    name : str
        Name of the set.
    """

    folder: str
    indices: tuple[int, ...]
    name: str

    def load(self, index: int) -> tuple[RadioCube, Table]:
        """One cube and its true sources; `InputError` if a file is missing or broken."""
        from faintsky.catalog import read_catalog

        stem = Path(self.folder) / f"{index:04d}"
        psf, pb = (beside(self.folder, stem.name, kind) for kind in ("psf", "pb"))
        cube = open_cube(f"{stem}_dirty.fits", psf=psf, pb=pb)
        truth = read_catalog(f"{stem}_truth.ecsv")
        seen, own = (column(truth, name) for name in ("fwhm_maj", "dc_maj"))
        if (np.isfinite(seen) & ~np.isfinite(own)).any():
            hint = "give dc_maj, dc_min and dc_pa, the sizes without the beam"
            raise InputError("gives sizes as observed only", hint, f"{stem}_truth.ecsv")
        return cube, truth


def numbered(folder: str | Path, one: str, other: str, command: str) -> list[int]:
    """Numbers NNNN for which a folder has two files.

    Parameters
    ----------
    folder : path-like
        The folder.
    one, other : str
        The files are ``NNNN_one`` and ``NNNN_other``.
    command : str
        The command that makes such a folder, for messages.

    Returns
    -------
    list of int

    Raises
    ------
    InputError
        If there is no such folder.
    """
    path = Path(folder)
    if not path.is_dir():
        raise InputError("there is no such folder", f"give a folder written by {command}", path)
    names = [re.fullmatch(rf"(\d{{4,}})_{re.escape(one)}", p.name) for p in path.iterdir()]
    return sorted(int(m[1]) for m in names if m and (path / f"{m[1]}_{other}").is_file())


def open_cubes(folder: str | os.PathLike[str], n: int | None = None) -> FolderCubes:
    """The first ``n`` cubes, or all, of a folder written by ``faintsky simulate alma``.

    Raises
    ------
    InputError
        If there is no such folder, or it holds no cube with a truth, or fewer than ``n``.
    """
    path = Path(folder)
    indices = numbered(path, "truth.ecsv", "dirty.fits", "faintsky simulate alma")
    if not indices:
        fault = "has no NNNN_dirty.fits with its NNNN_truth.ecsv"
        raise InputError(fault, "give a folder written by faintsky simulate alma", path)
    if n is not None and n > len(indices):
        raise InputError(f"holds {len(indices)} cubes, not {n}", f"ask for -n {len(indices)} or fewer", path)
    preset = re.sub(r"[^\w.+-]+", "_", str(parameters_of(path).get("preset") or ""))
    return FolderCubes(str(path), tuple(indices[:n]), preset or path.resolve().name)


@dataclass(frozen=True)
class SimulatedCubes:
    """Cubes simulated when loaded; cube i is the same as cube i of ``simulate alma`` with this seed.

    Parameters
    ----------
    preset : str
        One of `faintsky.sky.PRESETS`; also the name of the set.
    indices : tuple of int
        Numbers of the cubes.
    seed : int
        Seed of the data set.
    settings : tuple of (str, value)
        Further arguments of `faintsky.simulate_alma`, such as ``(("size", 128),)``.
    """

    preset: str
    indices: tuple[int, ...]
    seed: int = 0
    settings: tuple[tuple[str, Any], ...] = ()

    @property
    def name(self) -> str:
        """The preset."""
        return self.preset

    def load(self, index: int) -> tuple[RadioCube, Table]:
        """Simulate one cube, with psf and primary beam, and its true sources."""
        from faintsky.system import one_thread

        with one_thread():
            observatory, psf, pb = _alma(self.preset, self.settings)
            seen = observatory.sample(self.seed, index)
        instrument = seen.instrument
        if psf is None:
            psf, pb = _beams(instrument)
        grid, spectral = instrument.grid, instrument.spectral
        cube = RadioCube.from_array(
            seen.dirty, cell=grid.cell, frequencies=spectral.frequencies(), beam=instrument.beams,
            ra=grid.ra, dec=grid.dec, rest_frequency=spectral.middle, psf=psf, pb=pb,
            name=f"{self.preset} {index:04d}",
        )  # fmt: skip
        meta = {"preset": self.preset, "seed": self.seed, "sample": index}
        meta |= {"noise_jy_per_beam": seen.sigma.tolist(), "box_rule": observatory.settings.box_rule}
        return cube, seen.truth_table(**meta)


@lru_cache(maxsize=4)
def _alma(preset: str, settings: tuple[tuple[str, Any], ...]) -> tuple[Any, Any, Any]:
    """Telescope, psf and primary beam of a preset; cached, because making them takes longer than a cube.

    Psf and primary beam are None if each cube has its own.
    """
    observatory = open_observatory(SimulationSettings(telescope="alma", preset=preset, **dict(settings)))
    shared = observatory.instrument
    return observatory, *((None, None) if shared is None else _beams(shared))


def _beams(instrument: Instrument) -> tuple[Any, Any]:
    """Psf and primary beam of an instrument, ``[chan, y, x]`` each."""
    pb = np.where(instrument.valid(), instrument.pb_cube(), np.float32(np.nan))
    return instrument.psf_cube(), pb


def cube_shape(cubes: Any) -> tuple[int, ...]:
    """``(chan, y, x)`` of a set's first cube, from header or settings; for other sets by loading it."""
    if isinstance(cubes, SimulatedCubes):
        observation = SimulationSettings(
            telescope="alma", preset=cubes.preset, **dict(cubes.settings)
        ).observation
        return observation.spectral.n_chan, *observation.grid.shape
    return tuple(cubes.load(cubes.indices[0])[0].shape)

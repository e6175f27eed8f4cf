"""Both papers' systems and ours on real files of ALMA and LOFAR, looked at.

    python -m reproduction.real_files DIR [--models A,B] [--seed S]

DIR holds the files that `FILES` and `CUBE` name, or is ``tests/data``, which has fewer and smaller ones; what
is not there is left out. Models are the shipped ones, or those given by name or folder. Nothing is fitted to
these files. A network is shown a file as it is, with what of it is unlike its training; and once more as its
training was, where that can be done:

- an autoencoder's brightness is absolute: the image is multiplied so that its noise is the training's;
- DeepFocus' cube is resampled so that its beam has as many pixels as in the training, and given channels of
  noise, with its own rms and beam, to either side.

Table and panels go to ``reproduction/results/real_files``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, zoom

from faintsky.beams import beam_pixels
from faintsky.denoising import make_denoiser
from faintsky.detection import beam_of, find_catalog
from faintsky.errors import InputError
from faintsky.evaluation import table_of
from faintsky.evaluation.sets import NOMINAL
from faintsky.grid import FWHM_PER_SIGMA
from faintsky.image import RadioCube, RadioImage
from faintsky.io import open_cube, open_image
from faintsky.models import Model, check_model, list_models, load_model
from faintsky.preparing import robust_sigma
from faintsky.published.deepfocus.pipeline import noise_level
from faintsky.simulating import UNIT_BEAM
from faintsky.system.figures import MAPS, panels_of, save_figure, style
from reproduction import common

Array = NDArray[np.float32]
Rows = list[dict[str, Any]]

SHIPPED = ("classical", "denoiser", "deepfocus", "dda_noise", "dda_clean", "dda_dirty")
APERTURE = 3.0
"""Radius in which fluxes are summed, about the brightest pixel [major FWHM of the beam]."""
TRAINING_BEAM = (14.2, 8.5)
"""Of the autoencoders' Dirty and Clean images [arcsec]."""


@dataclass(frozen=True)
class File:
    """An image: names of its file (or a packed one), of its psf, of CLEAN's model and image of the same."""

    names: tuple[str, ...]
    about: str
    psf: tuple[str, ...] = ()
    model: str = ""
    clean: str = ""


FILES = (
    File(
        ("alma_pisco_cii_dirty.fits", "alma_pisco_cii_dirty.fits.gz"), "ALMA, [CII] of a quasar, dirty",
        ("alma_pisco_cii_psf.fits", "alma_pisco_cii_psf.fits.gz"), "alma_pisco_cii_model.fits",
        "alma_pisco_cii_image.fits",
    ),
    File(
        ("alma_pisco_cii_image.fits",), "the same, CLEANed", (), "alma_pisco_cii_model.fits",
        "alma_pisco_cii_image.fits",
    ),
    File(
        ("lofar_hba_grb201006a.fits", "lofar_hba_grb201006a.fits.gz"), "LOFAR HBA, two minutes, stripes",
        clean="lofar_hba_grb201006a.fits",
    ),
)  # fmt: skip
CUBE = ("alma_ngc3256_co10_cube.fits", "ngc3256_co10_64.fits.gz")
"""ALMA, CO of NGC 3256, and a cut of it."""
KNOWN = "780-804"
"""Its line flux in apertures of 15 to 25 arcsec about the peak [Jy km/s]."""


def there(folder: Path, names: tuple[str, ...]) -> Path | None:
    """The first of some files that a folder has."""
    return next((folder / n for n in names if (folder / n).is_file()), None)


def said(unlike: list[str]) -> str:
    """What is unlike a model's training, without what follows of it."""
    return "; ".join(note.partition(": ")[0] for note in unlike) or "-"


def aperture(image: RadioImage, picture: Array, centre: tuple[int, int]) -> float:
    """Sum of a picture [Jy/beam] about a pixel [Jy]."""
    beam = beam_of(image)
    dy, dx = (np.arange(n) - c for n, c in zip(picture.shape, centre, strict=True))
    inside = np.hypot(dy[:, None], dx) <= APERTURE * beam[0]
    return float(np.nansum(picture[inside]) / beam_pixels(np.array(beam), 1.0)[0])


def with_noise_of(image: RadioImage, product: str) -> tuple[RadioImage, float]:
    """An image multiplied so that its noise is an autoencoder's training's, and the factor."""
    cell = image.grid.cell
    beam = np.array(image.middle_beam)
    area = float(beam_pixels(beam, 1.0)[0]) * cell**2
    trained = (
        NOMINAL / UNIT_BEAM
        if product == "noise"
        else NOMINAL / (np.pi / 4 / np.log(2) * np.prod(TRAINING_BEAM))
    )
    factor = float(trained * area / robust_sigma(image.data))
    own = {"cell": cell, "unit": "Jy/beam", "beam": [beam[0] * cell, beam[1] * cell, beam[2]]}
    return RadioImage.from_array(image.data * np.float32(factor), **own, name=image.name), factor


def of_image(folder: Path, file: File, models: list[Model]) -> tuple[Rows, dict[str, Array]]:
    """What models make of an image, and pictures over the noise, by name."""
    path, psf = there(folder, file.names), there(folder, file.psf)
    if path is None or (file.psf and psf is None):
        return [], {}
    image = open_image(path, psf=psf)
    rms, centre = robust_sigma(image.data), np.unravel_index(np.nanargmax(image.data), image.data.shape)
    pictures = {"image": image.data / rms}
    known = []
    for words, name in (("components", file.model), ("image", file.clean)):
        kept = there(folder, (name, f"{name}.gz")) if name else None
        if kept is not None:
            other = np.nan_to_num(open_image(kept).data)
            to_beam = beam_pixels(np.array(beam_of(image)), 1.0)[0] if name == file.model else 1.0
            known.append(f"{1e3 * aperture(image, other * np.float32(to_beam), centre):.3g} mJy ({words})")
    rows = []
    for model in models:
        product = model.settings.get("product")
        if model.job != "denoise" or product == "sky" or (product and (product == "dirty") != bool(file.psf)):
            continue
        ways = {model.name: (image, 1.0)}
        if product:
            ways[f"{model.name}, noise as trained"] = with_noise_of(image, product)
        for name, (shown, factor) in ways.items():
            found = make_denoiser(model)(shown)
            made = (found.image if found.seen is None else found.seen) / np.float32(factor)
            pictures[name] = made / rms
            unlike = check_model(shown, model)
            rows.append({
                "file": path.name, "method": name, "found": len(found.catalog),
                "flux": f"{1e3 * aperture(image, made, centre):.3g} mJy", "known": ", ".join(known) or "-",
                "unlike the training": said(unlike),
            })  # fmt: skip
    return rows, pictures


def like_training(cube: RadioCube, model: Model, seed: int = 0) -> RadioCube:
    """A cube as DeepFocus knows them: pixels to the beam, channels; the added ones hold noise alone.

    Raises
    ------
    InputError
        It has more channels than the model takes.
    """
    trained = model.settings["trained"]
    beam = beam_of(cube)
    factor = float(trained["beam"]) / float(trained["cell"]) / float(np.sqrt(beam[0] * beam[1]))
    n_chan, wanted = cube.shape[0], int(trained["channels"])
    if n_chan > wanted:
        raise InputError(f"has {n_chan} channels, more than {wanted}", "give a part of it", cube.name)
    seen = [
        zoom(np.nan_to_num(plane), factor, order=3, grid_mode=True, mode="nearest") for plane in cube.data
    ]
    first = (wanted - n_chan) // 2
    rng = np.random.default_rng(seed)
    widths = np.array(beam[1::-1]) * factor / FWHM_PER_SIGMA / np.sqrt(2)  # its square is the beam
    noise = np.stack([gaussian_filter(rng.standard_normal(seen[0].shape), widths) for _ in range(wanted)])
    noise *= noise_level(cube.data) / noise.std()
    for k, plane in enumerate(seen):
        if not cube.blank_channels[k]:
            noise[first + k] = plane
    step, cell = float(np.median(np.diff(cube.frequencies))), cube.grid.cell
    return RadioCube.from_array(
        noise.astype(np.float32), cell=cell / factor, beam=[beam[0] * cell, beam[1] * cell, beam[2]],
        frequencies=cube.frequencies[0] + step * (np.arange(wanted) - first), name=cube.name,
        rest_frequency=cube.rest_frequency,
    )  # fmt: skip


def of_cube(folder: Path, models: list[Model], seed: int) -> tuple[Rows, dict[str, Array]]:
    """What models find in the cube, and their pictures of the sum over its channels, by name."""
    path = there(folder, CUBE)
    if path is None:
        return [], {}
    cube = open_cube(path)
    pictures, rows = {"sum of the channels": np.nansum(cube.data, axis=0)}, []
    for model in models:
        if model.job != "detect":
            continue
        ways: dict[str, Callable[[], RadioCube]] = {model.name: lambda: cube}
        if model.settings.get("trained"):
            ways[f"{model.name}, as trained"] = lambda model=model: like_training(cube, model, seed)
        for name, make in ways.items():
            row: dict[str, Any] = {"file": path.name, "method": name, "found": "-", "flux": "-"}
            row["known"] = f"{KNOWN} Jy km/s"
            try:
                shown = make()
                unlike = check_model(shown, model)
                found = find_catalog(shown, model)
                flux = np.nan_to_num(np.asarray(found.catalog["flux"], dtype=float))
                told = f"{flux.max(initial=0.0):.4g} Jy km/s, all {flux.sum():.4g}"
                row |= {"found": len(flux), "flux": told}
                if found.image is not None:
                    pictures[f"{name}: map"] = found.image
                if found.model is not None:
                    pictures[f"{name}: model"] = found.model.sum(axis=0)
            except InputError as error:
                unlike = [error.fault]
            rows.append(row | {"unlike the training": said(unlike)})
    return rows, pictures


def draw(pictures: dict[str, Array], path: Path, limits: tuple[float, float] | None) -> None:
    """Panels of pictures, stretched by asinh, as a small PNG; without limits each has its own."""
    with style():
        figure, axes = panels_of(len(pictures), 3.2, 3.2, 4)
        for ax, (name, picture) in zip(axes, pictures.items(), strict=True):
            low, high = limits or (0.0, max(float(np.nanmax(picture)), 1e-30))
            soft = np.arcsinh(np.clip(picture, low, high) / (1.0 if limits else high / 30))
            ax.imshow(soft, origin="lower", cmap=MAPS["brightness"], interpolation="nearest")
            ax.set(title=name, xticks=[], yticks=[])
            ax.title.set_fontsize(7)
        full = path.with_suffix(".full.png")
        save_figure(figure, full)
    common.small(full, path)
    full.unlink()


def run(options: argparse.Namespace) -> None:
    """Look at all files, and write table and panels."""
    known = {m.name for m in list_models()}
    names = options.models.split(",") if options.models else [n for n in SHIPPED if n in known]
    models = [load_model(n) for n in names]
    folder = common.RESULTS / options.results
    folder.mkdir(parents=True, exist_ok=True)
    rows: Rows = []
    for number, file in enumerate((*FILES, None)):
        made, pictures = (
            of_cube(options.files, models, options.seed)
            if file is None
            else of_image(options.files, file, models)
        )
        rows += made
        if made:
            stem = made[0]["file"].partition(".")[0]
            draw(pictures, folder / f"{stem}.png", None if file is None else (-3.0, 30.0))
            common.say(number + 1, len(FILES) + 1, "files")
    text = [
        f"Models: {', '.join(f'{m.name} ({m.hash})' for m in models)}. Fluxes of images are sums within"
        f" {APERTURE:g} beams of the brightest pixel, known ones those of CLEAN's components and image. Of"
        " the cube: the brightest object's, and of all.", "",
    ]  # fmt: skip
    text += [f"- {f.names[0]}: {f.about}." for f in FILES if there(options.files, f.names)]
    text += ["", table_of(rows, {k: k for k in rows[0]}) if rows else "No file is there."]
    (folder / "table.md").write_text("\n".join(text), encoding="utf-8")
    print("\n".join(text))


def main() -> None:
    """The command line."""
    parser = common.parser(__doc__)
    parser.add_argument("files", type=Path, metavar="DIR")
    parser.add_argument("--models", help="names or folders, by commas; those that are shipped by default")
    parser.add_argument("--seed", type=int, default=0, help="of the noise that fills channels up")
    parser.add_argument("--results", default="real_files")
    run(parser.parse_args())


if __name__ == "__main__":
    main()

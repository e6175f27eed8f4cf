"""Fit the thresholds and the calibration of a denoising model, on fields drawn for this and never trained on.

    python tools/fit_denoiser.py MODEL [--fields 60] [--empty 100] [--web validation]

MODEL is a model's folder; its ``model.json`` gets the settings, and the scores on the same fields are written
beside it as ``fit.json``. With ``--web`` every second field with emission is one of ``faintsky simulate
lofar``, of each preset and each kind of this cosmic web in turn; the others have random arrays, skies and
errors, a third of the skies from the web. Half of the time goes into fields without emission, whose regions
are all false; in half of the restored ones are points, for what is left of them is no region. What is fitted
is what the network is shown: restored images without their compact sources, dirty ones after their major
cycles, and white noise. Dirty images have a psf that is twice as wide, `cut` ones a psf that is not wider
than they are.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from region_fit import Sample, apart_sample, fit_settings, whole_sample
from scipy.signal import fftconvolve

from faintsky.denoising import DenoiserSettings
from faintsky.evaluation import SimulatedFields
from faintsky.image import RadioImage
from faintsky.io import write_json
from faintsky.models import load_model
from faintsky.preparing import gaussian_psf
from faintsky.simulating import PSF_SIDE, PsfLibrary, make_library
from faintsky.sky import draw_diffuse, draw_radio_galaxies
from faintsky.sky.web import Web, draw_web, open_web
from faintsky.system import choose_device

SEED = 20_260_101
"""Of the fields; training has other words in its seeds."""
PIXELS = 512
NOISE = 1e-4
"""Nominal noise [Jy/beam]; a field's is 0.3 to 10 times as much."""
WHITE_BEAM = 40.8
"""Area of the beam of 6 arcsec that the Noise images' noise is quoted in [arcsec2]."""
RATES = {"correlated": 1 / 1.0e5, "white": 1 / 3.24e6, "dirty": 1 / 1.0e5, "cut": 1 / 1.0e5}
"""False regions a beam (LOFAR's square degree holds 1e5 of 14 x 8 arcsec), or a pixel of 2 arcsec."""


def sky(rng: np.random.Generator, cell: float, web: Web | None) -> NDArray[np.float32]:
    """Diffuse emission with radio galaxies in two fields of three [Jy/arcsec2]."""
    shape = (PIXELS, PIXELS)
    if web is not None and rng.random() < 1 / 3:
        out = draw_web(web, rng, PIXELS, cell)
    else:
        out = draw_diffuse(rng, shape, cell)
    if rng.random() < 2 / 3:
        faintest = float(np.exp(rng.uniform(np.log(5e-5), np.log(1e-3))))
        out = out + draw_radio_galaxies(rng, shape, cell, faintest=faintest) / np.float32(cell**2)
    return out


def enlarged(transfer: NDArray[np.float32]) -> NDArray[np.float64]:
    """The transform of a psf or of a noise correlation on the grid of a field, twice as fine."""
    image = np.fft.irfft2(transfer, s=(PSF_SIDE, PSF_SIDE))
    full = np.zeros((PIXELS, PIXELS))
    at = np.fft.fftfreq(PSF_SIDE, 1 / PSF_SIDE).astype(int)
    full[np.ix_(at, at)] = image
    return np.fft.rfft2(full).real


def seen_by(rng: np.random.Generator, library: PsfLibrary) -> tuple[int, float, float, NDArray[np.float64]]:
    """An array of the library, a cell [arcsec], a noise [Jy/beam], and a field of that noise, ``[y, x]``."""
    k = int(rng.integers(len(library.beams)))
    cell = float(np.exp(rng.uniform(0, np.log(4))))
    noise = NOISE * float(np.exp(rng.uniform(np.log(0.3), np.log(10))))
    power = np.maximum(enlarged(library.noise[k]), 0)
    grain = np.fft.irfft2(
        np.fft.rfft2(rng.standard_normal((PIXELS, PIXELS))) * np.sqrt(power), s=(PIXELS, PIXELS)
    )
    return k, cell, noise, noise * grain / grain.std()


def correlated(
    rng: np.random.Generator, library: PsfLibrary, web: Web | None, empty: bool
) -> tuple[RadioImage, NDArray[np.float32]]:
    """A restored image with up to a tenth of its sidelobes left, and its true sky."""
    k, cell, noise, image = seen_by(rng, library)
    beam = library.beams[k]
    if not empty:
        light = sky(rng, cell, web).astype(float) * cell**2
    else:
        light = points(rng, noise) if rng.random() < 0.5 else np.zeros((PIXELS, PIXELS))
    truth = np.zeros((PIXELS, PIXELS))
    if light.any():
        spectrum = np.fft.rfft2(light)
        clean = np.fft.rfft2(np.fft.ifftshift(gaussian_psf((PIXELS, PIXELS), *beam)))
        truth = np.fft.irfft2(spectrum * clean, s=truth.shape)
        psf = enlarged(library.transfer[k]) * PSF_SIDE**2
        lobes = np.fft.irfft2(spectrum * (psf - clean), s=truth.shape)
        # what a careful cleaning leaves is not above the noise
        left = min(rng.uniform(0, 0.1), noise / max(float(lobes.std()), 1e-12))
        image = image + truth + left * lobes
    shape = [beam[0] * cell, beam[1] * cell, beam[2]]
    made = RadioImage.from_array(image.astype(np.float32), cell=cell, beam=shape)
    return made, truth.astype(np.float32)


def points(rng: np.random.Generator, noise: float) -> NDArray[np.float64]:
    """Some dozen sources without extent, the number above a flux falling with the flux [Jy/pixel]."""
    out, (low, high) = np.zeros((PIXELS, PIXELS)), POINTS
    n = int(rng.integers(10, 100))
    at = rng.integers(0, PIXELS, (2, n))
    np.add.at(out, tuple(at), noise * np.minimum(low / rng.random(n), high))
    return out


def cut(
    rng: np.random.Generator, library: PsfLibrary, web: Web | None, empty: bool
) -> tuple[RadioImage, NDArray[np.float32]]:
    """A dirty image with a psf of half its width, and its true sky at the clean beam's resolution."""
    return dirty(rng, library, web, empty, PIXELS)


def dirty(
    rng: np.random.Generator, library: PsfLibrary, web: Web | None, empty: bool, side: int = PSF_SIDE // 2
) -> tuple[RadioImage, NDArray[np.float32]]:
    """A dirty image with a psf that is twice as wide, and its true sky at the clean beam's resolution."""
    k, cell, _, image = seen_by(rng, library)
    middle = (slice((PIXELS - side) // 2, (PIXELS + side) // 2),) * 2
    beam, image = library.beams[k], image[middle]
    psf = np.fft.fftshift(np.fft.irfft2(library.transfer[k] * PSF_SIDE**2, s=(PSF_SIDE, PSF_SIDE)))
    truth = np.zeros((side, side))
    if not empty:
        light = sky(rng, cell, web)[middle].astype(float) * cell**2
        # a psf has its middle at n // 2, and an odd side leaves it there
        near = psf[1:, 1:]
        truth = fftconvolve(light, gaussian_psf((PSF_SIDE - 1, PSF_SIDE - 1), *beam), mode="same")
        image = image + fftconvolve(light, near, mode="same")
    shape = [beam[0] * cell, beam[1] * cell, beam[2]]
    made = RadioImage.from_array(
        image.astype(np.float32), cell=cell, beam=shape, psf=psf[1:, 1:].astype(np.float32), kind="dirty"
    )
    return made, truth.astype(np.float32)


def white(rng: np.random.Generator, web: Web | None, empty: bool) -> tuple[RadioImage, NDArray[np.float32]]:
    """A Noise image, and its true sky [Jy/arcsec2]."""
    cell = float(np.exp(rng.uniform(0, np.log(4))))
    noise = NOISE / WHITE_BEAM * float(np.exp(rng.uniform(np.log(0.3), np.log(10))))
    truth = np.zeros((PIXELS, PIXELS), np.float32) if empty else sky(rng, cell, web)
    image = truth + noise * rng.standard_normal(truth.shape)
    return RadioImage.from_array(image.astype(np.float32), cell=cell, unit="Jy/arcsec2"), truth


POINTS = 5.0, 3000.0
"""S/N of the points in fields without other emission, at least and at most."""

DRAW: dict[str, Callable[..., tuple[RadioImage, NDArray[np.float32]]]] = {
    "correlated": correlated,
    "white": white,
    "dirty": dirty,
    "cut": cut,
}


LOFAR = (("paper", "sky1"), ("paper", "sky2"), ("paper", ""), ("lotss", ""))
"""Presets, and kinds of the web's fields, of the simulated LOFAR fields."""
PRODUCTS = {"correlated": "clean_ideal", "white": "noise", "dirty": "dirty", "cut": "dirty"}


def lofar(kind: str, index: int, web: str) -> tuple[RadioImage, NDArray[np.float32]]:
    """A simulated LOFAR field, and its true sky."""
    preset, sky = LOFAR[index % len(LOFAR)]
    drawn = {"web": web, "field": sky} if sky else {}
    field = SimulatedFields(preset, PRODUCTS[kind], (index,), SEED, PIXELS, **drawn).load(index)
    assert field is not None
    image = field.image
    if kind == "cut":
        assert image.psf is not None
        near = tuple(slice((n - PIXELS) // 2, (n + PIXELS) // 2) for n in image.psf.shape[1:])
        psf = image.psf[:, *near]
        image = replace(image, companions={**image.companions, "psf": lambda: psf})
    return image, field.truth


def samples(
    kind: str, network: object, library: PsfLibrary, web: str | None, fields: int, empty: int, device: str
) -> Iterator[Sample]:
    """Fields with emission, then fields without."""
    begin = time.monotonic()
    opened = open_web(web) if web else None
    for i in range(fields + empty):
        rng = np.random.default_rng([SEED, len(kind), i])
        drawn = (rng, opened) if kind == "white" else (rng, library, opened)
        if web and i < fields and i % 2:
            image, truth = lofar(kind, i // 2, web)
        else:
            image, truth = DRAW[kind](*drawn, i >= fields)
        make = apart_sample if kind == "correlated" else whole_sample
        sample = make(image, truth, network, i >= fields, device)  # type: ignore[operator]
        if sample is not None:
            yield sample
        if i % 20 == 19:
            print(f"{kind} {i + 1}/{fields + empty}, {time.monotonic() - begin:.0f} s", flush=True)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--fields", type=int, default=60)
    parser.add_argument("--empty", type=int, default=100)
    parser.add_argument("--library", type=Path, help="of psfs; one of 60 is made where not given")
    parser.add_argument("--web", help="a cosmic web, such as validation")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--only", choices=list(DRAW), help="leave the settings of the others as they are")
    options = parser.parse_args()
    model, device = load_model(options.model, job="denoise"), choose_device(options.device)
    network = model.network("denoiser", device)
    library = PsfLibrary.load(options.library) if options.library else make_library(60, SEED)
    settings, scores = dict(model.settings), {}
    for kind, start in DenoiserSettings():
        if options.only and kind != options.only:
            continue
        drawn = list(samples(kind, network, library, options.web, options.fields, options.empty, device))
        fitted, scores[kind] = fit_settings(drawn, start, rate=RATES[kind], raised=kind == "correlated")
        settings[kind] = fitted.model_dump()
        print(kind, json.dumps({"settings": settings[kind], "scores": scores[kind]}, indent=1), flush=True)
    DenoiserSettings.read(settings)
    write_json(model.path / "model.json", {**model.card, "settings": settings})
    write_json(model.path / "fit.json", {"fields": options.fields, "empty": options.empty, "scores": scores})


if __name__ == "__main__":
    main()

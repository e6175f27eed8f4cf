"""Find faint sources in radio images and spectral cubes.

Every command of ``faintsky`` on the command line is a thin call of one of the functions here; they are
resolved when first used, so that ``import faintsky`` loads neither torch nor astropy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from faintsky.system.threads import prepare_threads

if TYPE_CHECKING:
    from faintsky.evaluation.alma import evaluate_alma
    from faintsky.evaluation.lofar import evaluate_lofar
    from faintsky.image import RadioCube, RadioImage
    from faintsky.io import open_cube, open_image
    from faintsky.jobs.demo import demo
    from faintsky.jobs.denoise import denoise
    from faintsky.jobs.detect import detect
    from faintsky.jobs.inject import inject
    from faintsky.jobs.train import train
    from faintsky.jobs.tune import tune
    from faintsky.models import list_models, load_model
    from faintsky.simulating.alma import simulate_alma
    from faintsky.simulating.lofar import simulate_lofar

_HOMES = {
    "RadioCube": "faintsky.image",
    "RadioImage": "faintsky.image",
    "open_cube": "faintsky.io",
    "open_image": "faintsky.io",
    "simulate_alma": "faintsky.simulating.alma",
    "simulate_lofar": "faintsky.simulating.lofar",
    "denoise": "faintsky.jobs.denoise",
    "detect": "faintsky.jobs.detect",
    "evaluate_alma": "faintsky.evaluation.alma",
    "evaluate_lofar": "faintsky.evaluation.lofar",
    "demo": "faintsky.jobs.demo",
    "inject": "faintsky.jobs.inject",
    "train": "faintsky.jobs.train",
    "tune": "faintsky.jobs.tune",
    "list_models": "faintsky.models",
    "load_model": "faintsky.models",
}

__all__ = [
    "RadioCube",
    "RadioImage",
    "__version__",
    "demo",
    "denoise",
    "detect",
    "evaluate_alma",
    "evaluate_lofar",
    "inject",
    "list_models",
    "load_model",
    "open_cube",
    "open_image",
    "simulate_alma",
    "simulate_lofar",
    "train",
    "tune",
]

prepare_threads()


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("faintsky")
    except PackageNotFoundError:
        return "0+unknown"


def __getattr__(name: str) -> Any:
    if name == "__version__":
        value: Any = _version()
    elif name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module 'faintsky' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)

"""Find faint sources in radio images and spectral cubes.

Every command of ``faintsky`` on the command line is a thin call of one of the functions here; they are
resolved when first used, so that ``import faintsky`` loads neither torch nor astropy.
"""

from typing import TYPE_CHECKING, Any

from faintsky import published as _published  # makes the methods known
from faintsky.system import prepare_memory, prepare_threads
from faintsky.system.lazy import lazy
from faintsky.telescopes import TELESCOPES

if TYPE_CHECKING:
    from faintsky.evaluation import evaluate_alma, evaluate_lofar
    from faintsky.image import RadioCube, RadioImage
    from faintsky.io import open_cube, open_image
    from faintsky.jobs import Result, demo, denoise, detect, inject, train, tune
    from faintsky.models import list_models, load_model
    from faintsky.system import __version__

lazy(__name__)
_find = globals()["__getattr__"]
__all__ = [*_find("__all__"), *(f"simulate_{name}" for name in TELESCOPES)]


def __getattr__(name: str) -> Any:
    kind, _, telescope = name.partition("_")
    if kind == "simulate" and telescope in TELESCOPES:
        from faintsky.simulating import simulator

        return simulator(telescope)
    return _find(name)


prepare_memory()
prepare_threads()

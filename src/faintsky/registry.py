"""What can be plugged in, by name: networks, recipes, models, and what detects, denoises and filters.

Each slice of `faintsky.published` says in its ``__init__`` where its parts are, and nothing is imported
before it is used. A package of your own does the same::

    from faintsky.registry import DETECTORS, NETWORKS

    NETWORKS.add("mine", "my_package.network:Mine")
    DETECTORS.add("mine", "my_package.find:find")
"""

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

from faintsky.errors import InputError


class Registry(Mapping[str, Any]):
    """Things by name, imported when asked for.

    Parameters
    ----------
    kind : str
        What they are, in a word for error messages.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._places: dict[str, Any] = {}

    def add(self, name: str, place: Any) -> None:
        """Make a thing known, or another one under a known name.

        Parameters
        ----------
        name : str
            What users and model cards call it.
        place : str or object
            ``"module:attribute"``, or the thing itself.
        """
        self._places[name] = place

    def __getitem__(self, name: str) -> Any:
        """The thing of a name; `InputError` where there is none."""
        if name not in self._places:
            raise InputError(f"no {self.kind} {name!r}", f"known: {', '.join(self)}")
        place = self._places[name]
        if not isinstance(place, str):
            return place
        module, _, attribute = place.partition(":")
        return getattr(import_module(module), attribute)

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._places))

    def __len__(self) -> int:
        return len(self._places)


NETWORKS = Registry("network")
"""Classes of `torch.nn.Module` with a static method ``example(size) -> tuple of Tensor``: inputs of about
this size in pixels, on which every network is tested. One that is not cut into blocks by its ``reach``
has a method ``blocks(shape)``: how many there are, the shape of one, and pixels in work at a time."""
RECIPES = Registry("network to train")
"""How a network is trained: `faintsky.training.Recipe`."""
DETECTORS = Registry("method")
"""``find(cube, model, *, reliability, device) -> Found``, by the model's setting ``method``; with the
method's own threshold where ``reliability`` is None. See `faintsky.detection.Found`."""
DENOISERS = Registry("method")
"""``make(model, device)``, by the model's setting ``method``: what denoises an image, a
`faintsky.denoising.DenoiseCall`."""
CHECKS = Registry("check")
"""``check(data, model) -> list of str``, by the model's setting ``method``: what of an image or a cube is
unlike the training's, said before the run; `InputError` where the method cannot take it at all."""
FILTERS = Registry("filter")
"""``filter(signal, known, correlation, **settings)``: image over rms ``[y, x]``, 0 where blank; pixels that
are not; correlation of the noise or None; to the image denoised. `faintsky.denoising.apply_filter` calls
it."""
MODELS = Registry("model")
"""Folders of the models that come with the package."""

"""Models that denoise, behind one call: ours, and those of registered methods."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Protocol

from faintsky.denoising.denoiser import Denoised, Progress, denoise_image
from faintsky.denoising.settings import Settings
from faintsky.image import RadioImage
from faintsky.registry import DENOISERS

if TYPE_CHECKING:
    from torch import nn

    from faintsky.models import Model


class DenoiseCall(Protocol):
    """As `faintsky.denoising.denoiser.denoise_image`, network and settings filled in."""

    def __call__(
        self,
        image: RadioImage,
        *,
        members: int = 1,
        reliability: float = 0.9,
        progress: Progress | None = None,
    ) -> Denoised:
        """Denoise an image."""
        ...


def make_denoiser(model: Model, device: str = "cpu") -> DenoiseCall:
    """What denoises images as a model's card says.

    Parameters
    ----------
    model : Model
        Of the job ``denoise``.
    device : str, optional
        A torch device.

    Raises
    ------
    InputError
        For a card or weights that cannot be used.
    """
    method = model.settings.get("method")
    if method is not None:
        made: DenoiseCall = DENOISERS[method](model, device)
        return made
    network, settings = model.network("denoiser", device), Settings.read(model.settings)
    return partial(denoise_image, network=network, settings=settings, device=device)


def plan_blocks(network: nn.Module, shape: tuple[int, int]) -> tuple[int, tuple[int, int], int]:
    """Blocks that an image ``(n_y, n_x)`` is cut into, their shape, and pixels in work at a time."""
    if hasattr(network, "blocks"):
        said: tuple[int, tuple[int, int], int] = network.blocks(shape)  # type: ignore[operator]
        return said
    from faintsky.blocks.cover import cover

    blocks = cover(shape, reach=int(network.reach), stride=int(network.stride))  # type: ignore[arg-type]
    most = max(blocks, key=lambda b: b.shape[0] * b.shape[1]).shape
    return len(blocks), most, most[0] * most[1]

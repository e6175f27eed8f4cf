"""Models that denoise, behind one call: ours, and the published autoencoder."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from faintsky.denoising.denoiser import Denoised, Progress, denoise_image
from faintsky.denoising.settings import Settings
from faintsky.image import RadioImage
from faintsky.published.dda.denoise import METHOD, AutoencoderSettings, autoencode_image
from faintsky.published.dda.tiles import BATCH, tile_count

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
    network = model.network("denoiser", device)
    way: Any = denoise_image
    settings: Any
    if model.settings.get("method") == METHOD:
        way, settings = autoencode_image, AutoencoderSettings.read(model.settings)
    else:
        settings = Settings.read(model.settings)
    return partial(way, network=network, settings=settings, device=device)


def plan_blocks(network: nn.Module, shape: tuple[int, int]) -> tuple[int, tuple[int, int], int]:
    """Blocks or tiles that an image ``(n_y, n_x)`` is cut into, their shape, and pixels in work at a time."""
    if hasattr(network, "tile"):
        tile = int(network.tile)  # type: ignore[arg-type]
        # their features at the full resolution take twice the memory of those of our network
        return tile_count(shape, tile), (tile, tile), 2 * BATCH * tile**2
    from faintsky.blocks.cover import cover

    blocks = cover(shape, reach=int(network.reach), stride=int(network.stride))  # type: ignore[arg-type]
    most = max(blocks, key=lambda b: b.shape[0] * b.shape[1]).shape
    return len(blocks), most, most[0] * most[1]

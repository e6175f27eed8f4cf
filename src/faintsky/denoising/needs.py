"""What denoising an image takes of the machine, before it is done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from faintsky.denoising.methods import plan_blocks
from faintsky.system import BYTES_OF_TABLES, Needs

if TYPE_CHECKING:
    from torch import nn

BYTES_FIXED, BYTES_A_PIXEL, BYTES_A_DIRTY_PIXEL, BYTES_A_BLOCK_PIXEL = 0.45e9, 90, 156, 140
"""Most memory at a time: the libraries; a pixel of the image, with maps and figures; what a dirty image takes
besides; a pixel of a block, with the network's features. Resident set sizes, images of 256 to 2000 pixels."""
SECONDS_FIXED, SECONDS_A_PIXEL, SECONDS_A_PASS = 6.0, 1e-6, 2e-6
"""Of one processor core."""


def needs_of_image(
    network: nn.Module, shape: tuple[int, int], *, dirty: bool = False, passes: int = 1
) -> tuple[Needs, tuple[int, int]]:
    """Resident set sizes and times as measured on a CPU.

    Parameters
    ----------
    network : torch.nn.Module
    shape : tuple of int
        ``[y, x]``.
    dirty : bool, optional
        Whether the psf is given.
    passes : int, optional
        How many times the network sees the image.

    Returns
    -------
    needs : Needs
    block : tuple of int
        Shape of the largest block.
    """
    blocks, block, at_once = plan_blocks(network, shape)
    pixels = shape[0] * shape[1]
    a_pixel = BYTES_A_PIXEL + (BYTES_A_DIRTY_PIXEL if dirty else 0)
    memory = BYTES_FIXED + pixels * a_pixel + at_once * BYTES_A_BLOCK_PIXEL
    seconds = SECONDS_FIXED + pixels * (SECONDS_A_PIXEL + passes * SECONDS_A_PASS)
    return Needs(memory, pixels * 12 + BYTES_OF_TABLES, seconds, blocks), block

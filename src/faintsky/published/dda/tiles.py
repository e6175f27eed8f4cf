"""A tiled autoencoder over an image of any size: overlapping tiles, and stacks of encodings.

Gheller & Vazza (2021), Section 6: tiles overlap by half, and of each the central half is kept. The image is
continued by reflection, so that its rim lies in the middle of tiles as well. Section 4.2: what one encoding
makes of noise differs from the next, and goes away in a stack of several. The network being deterministic,
they differ by where the tiles begin and by how the image is turned and mirrored.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from faintsky.denoising import TURNS

if TYPE_CHECKING:
    from torch import nn

Array32 = NDArray[np.float32]

STEPS = (0.7548776662466927, 0.5698402909980532)
"""Steps between the grids' origins, in strides along y and x: the R2 sequence fills the square evenly."""


def encode(
    network: nn.Module,
    image: Array32,
    *,
    shift: tuple[int, int] = (0, 0),
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> Array32:
    """One encoding of an image.

    Parameters
    ----------
    network : torch.nn.Module
        ``[b, 1, tile, tile]`` to the same, on `device`; its ``tile`` says how many pixels.
    image : array
        As the network takes it, ``[y, x]``.
    shift : tuple of int, optional
        Pixels that the tiles' grid begins before the image along y and x, less than half a tile.
    device : str, optional
        A torch device.
    progress : callable, optional
        Called with rows of tiles done, and in all.
    """
    import torch

    from faintsky.published.dda.network import BATCH

    tile = int(network.tile)  # type: ignore[arg-type]
    keep = max(tile // 2, 1)
    margin = (tile - keep) // 2
    cells = [-(-(n + s) // keep) for n, s in zip(image.shape, shift)]
    widths = [
        (margin + s, c * keep + tile - keep - margin - n - s) for n, s, c in zip(image.shape, shift, cells)
    ]
    padded = np.pad(image, widths, mode="reflect")
    windows = sliding_window_view(padded, (tile, tile))[::keep, ::keep]
    out = np.empty((cells[0] * keep, cells[1] * keep), dtype=np.float32)
    inner = slice(margin, margin + keep)
    with torch.inference_mode():
        for row, tiles in enumerate(windows):
            parts = [
                network(torch.from_numpy(tiles[i : i + BATCH].copy())[:, None].to(device))[:, 0, inner, inner]
                for i in range(0, len(tiles), BATCH)
            ]
            kept = torch.cat(parts).float().cpu().numpy()
            out[row * keep : (row + 1) * keep] = kept.transpose(1, 0, 2).reshape(keep, -1)
            if progress is not None:
                progress(row + 1, len(windows))
    return out[shift[0] : shift[0] + image.shape[0], shift[1] : shift[1] + image.shape[1]]


def stack_encodings(
    network: nn.Module,
    image: Array32,
    brightness: Callable[[Array32], Array32],
    *,
    members: int = 1,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Array32, Array32]:
    """Mean of several encodings, and how far they are apart.

    Parameters
    ----------
    network, image, device
        As for `encode`.
    brightness : callable
        From an encoding to brightness.
    members : int, optional
        Encodings, 1 to 8: each of another turn or mirror image, and with the tiles beginning elsewhere.
    progress : callable, optional
        Called with rows of tiles done, and in all.

    Returns
    -------
    mean, spread : array
        ``[y, x]``, in the unit of brightness. The mean is that of the network's own scale: of a spot that a
        single member sees, the mean of its logarithm leaves less. The spread is the standard deviation of the
        members' brightness, 0 for a single one.
    """
    keep = max(int(network.tile) // 2, 1)  # type: ignore[arg-type]
    total, squares, sums = (np.zeros(image.shape) for _ in range(3))
    for i, (turns, mirror) in enumerate(TURNS[:members]):

        def tell(done: int, rows: int, first: int = i) -> None:
            if progress is not None:
                progress(first * rows + done, members * rows)

        seen = np.rot90(image, turns)
        seen = np.ascontiguousarray(seen[:, ::-1] if mirror else seen)
        y, x = (int(i * step % 1 * keep) for step in STEPS)
        made = encode(network, seen, shift=(y, x), device=device, progress=tell)
        made = np.rot90(made[:, ::-1] if mirror else made, -turns)
        total += made
        bright = brightness(made).astype(np.float64)
        sums += bright
        squares += bright**2
    mean = brightness((total / members).astype(np.float32))
    variance = np.maximum(squares / members - (sums / members) ** 2, 0)
    if members > 1:
        variance *= members / (members - 1)
    else:
        variance[:] = 0
    return mean, np.sqrt(variance).astype(np.float32)

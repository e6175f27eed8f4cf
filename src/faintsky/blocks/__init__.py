"""Data in blocks: what they read and write, and what of their results lies in several.

It knows arrays only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from faintsky.system.lazy import lazy

if TYPE_CHECKING:
    from faintsky.blocks.maps import Maps
    from faintsky.blocks.merging import Pieces, joined, merged_pieces, pieces_of
    from faintsky.blocks.tiling import LARGEST, Block, Brick, bricks, cover, in_blocks, tiles

lazy(__name__)

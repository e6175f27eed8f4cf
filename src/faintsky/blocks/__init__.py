"""Data in blocks: regions to read and to write, and the merging of objects that lie in several.

This room knows arrays only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from faintsky.system.lazy import lazy

if TYPE_CHECKING:
    from faintsky.blocks.maps import Maps
    from faintsky.blocks.merging import Pieces, joined, merged_pieces, pieces_of
    from faintsky.blocks.tiling import LARGEST, Block, Brick, bricks, cover, in_blocks, tiles

lazy(__name__)

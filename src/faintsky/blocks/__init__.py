"""Data in blocks: which regions they read and write, and how their results are put together.

It knows arrays only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from faintsky.system.lazy import lazy

if TYPE_CHECKING:
    from faintsky.blocks.tiling import LARGEST, Block, cover, in_blocks

lazy(__name__)

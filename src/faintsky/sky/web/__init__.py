"""Skies out of a simulated cosmic web: gravity, shocks, their light, and views of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from faintsky.system.lazy import lazy

if TYPE_CHECKING:
    from faintsky.sky.web.boxes import (
        Web,
        WebBox,
        cached_box,
        check_web,
        draw_web,
        load_box,
        make_box,
        open_web,
        save_box,
        split_of,
        wanted_boxes,
    )
    from faintsky.sky.web.points import BLOCKS, Points

lazy(__name__)

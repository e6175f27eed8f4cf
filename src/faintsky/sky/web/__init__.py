"""Skies from a simulated cosmic web: gravity, shocks, their emission, and views of it."""

from typing import TYPE_CHECKING

from faintsky.system.lazy import lazy

if TYPE_CHECKING:
    from faintsky.sky.web.boxes import (
        SPECTRAL_INDEX,
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
    from faintsky.sky.web.gravity import (
        MEAN_DENSITY,
        OMEGA_M,
        comoving_distance,
        growth,
        initial_density,
        linear_power,
    )
    from faintsky.sky.web.points import BLOCKS, Points, luminous_points
    from faintsky.sky.web.shocks import WEB_FREQUENCY

lazy(__name__)

"""Injection of sources into the user's own data, and their recovery.

This room knows how data are searched and denoised, but no files and commands.
"""

from typing import TYPE_CHECKING

from faintsky.system.lazy import lazy

if TYPE_CHECKING:
    from faintsky.injecting.cube import CubePlace, place_in_cube
    from faintsky.injecting.image import ImagePlace, Outlined, draw_shape, place_in_image
    from faintsky.injecting.points import PointPlace, by_measured_snr, compact_entries
    from faintsky.injecting.recovery import Recovery, recover, recovery_of

lazy(__name__)

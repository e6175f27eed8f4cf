"""Published methods, one slice each: networks, data, recipe, pipeline and thresholds of one paper.

A slice registers its parts in its ``__init__`` (`faintsky.registry`), and no other code knows it by name. A
new method is a new folder here, and a line below. Importing this room loads none of them."""

from faintsky.published import (
    aegean,
    blobcat,
    dda,
    decoras,
    deepfocus,
    filters,
    pybdsf,
    radio_unet,
    smooth_clip,
)

__all__ = [
    *("aegean", "blobcat", "dda", "decoras", "deepfocus", "filters", "pybdsf", "radio_unet", "smooth_clip")
]

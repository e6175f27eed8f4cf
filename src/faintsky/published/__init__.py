"""Published methods, a slice each: networks, data, recipe, pipeline and thresholds of one paper.

A slice makes its parts known in its ``__init__`` (`faintsky.registry`), and nobody else knows it by name: a
new method is a new folder here, and a line below. Importing this room loads none of them."""

from faintsky.published import aegean, blobcat, dda, decoras, deepfocus, filters, pybdsf, smooth_clip

__all__ = ["aegean", "blobcat", "dda", "decoras", "deepfocus", "filters", "pybdsf", "smooth_clip"]

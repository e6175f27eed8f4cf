"""Published methods, one slice each: networks, data, recipe, pipeline and thresholds of one paper.

A slice registers its parts in its ``__init__`` (`faintsky.registry`), and no other code knows it by name. A
new method is a new folder here, and a line below. Importing this room loads none of them."""

from faintsky.published import blobcat, dda, decoras, deepfocus, filters, peers, radio_unet, smooth_clip

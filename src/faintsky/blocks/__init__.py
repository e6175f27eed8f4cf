"""Cover of an image by blocks of one fixed shape, for images of any size."""

"""Images: prediction by a network, dirty images, regions of emission and their catalogue, uncertainty."""

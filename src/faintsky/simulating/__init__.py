"""Sky and telescope together: dirty images, psfs, noise, and whole data sets with their truth."""

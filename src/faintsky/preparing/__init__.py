"""What every method sees: noise levels, continuum and line apart, the psf and the beam."""

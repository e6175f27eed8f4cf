"""smooth_clip."""

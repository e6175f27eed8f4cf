"""injecting."""

"""Training: data simulated as it goes, losses, and the one `fit`."""

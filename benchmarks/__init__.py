"""Speed, scale and agreement: ``python -m benchmarks.NAME`` from the root, tracked in its ``results``."""

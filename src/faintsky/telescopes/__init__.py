"""Telescopes: antenna positions, uv tracks, primary beams and noise."""

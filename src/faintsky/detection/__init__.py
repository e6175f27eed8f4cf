"""Candidates to catalogue."""

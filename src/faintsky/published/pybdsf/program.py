"""PyBDSF's part of `faintsky.published.peers.inside`: positions and fitted shapes in degrees."""

from __future__ import annotations

from typing import Any


def _process(image: str, options: dict[str, Any]) -> Any:
    """PyBDSF's result; None if no pixel is above the threshold."""
    import bdsf
    import numpy

    # its import turns divisions by zero into errors, and its own fits divide by zero
    numpy.seterr(divide="ignore")
    try:
        return bdsf.process_image(image, quiet=True, ncores=1, outdir=None, **options)
    except RuntimeError as error:
        if "No islands" in str(error):
            return None
        raise


def sources(image: str, options: dict[str, Any]) -> list[list[float]]:
    """Run PyBDSF; one row for each source."""
    return [
        [*s.posn_sky_centroid, *s.size_sky, s.peak_flux_max, s.total_flux, s.rms_isl]
        for s in getattr(_process(image, options), "sources", [])
    ]


def islands(image: str, options: dict[str, Any]) -> Any:
    """Labels ``[y, x]``, 0 outside; PyBDSF has x first, and counts its islands from 0.

    Gaussians are fitted only if islands of wavelet scales are requested.
    """
    found = _process(image, options if options.get("atrous_do") else {**options, "stop_at": "isl"})
    return found.pyrank.T + 1 if getattr(found, "islands", None) else None

"""Aegean's part of `faintsky.published.peers.inside`: positions and fitted shapes in degrees."""

from __future__ import annotations

from typing import Any


def sources(image: str, options: dict[str, Any]) -> list[list[float]]:
    """Run Aegean; one row for each source."""
    import numpy.linalg
    from AegeanTools.source_finder import SourceFinder

    # for a singular fit Aegean uses a name of the error that NumPy 2 has removed
    if not hasattr(numpy.linalg, "linalg"):
        numpy.linalg.linalg = numpy.linalg  # type: ignore[attr-defined]
    found = SourceFinder().find_sources_in_image(image, cores=1, **options)
    return [
        [s.ra, s.dec, s.a / 3600, s.b / 3600, s.pa, s.peak_flux, s.int_flux, s.local_rms] for s in found or []
    ]


def islands(image: str, options: dict[str, Any]) -> Any:
    """Labels ``[y, x]`` of islands of positive pixels, 0 outside."""
    import numpy
    from AegeanTools.source_finder import SourceFinder, find_islands

    finder = SourceFinder()
    finder.load_globals(image, cores=1, **{k: v for k, v in options.items() if not k.endswith("clip")})
    labels = numpy.zeros(finder.img.shape, numpy.int32)
    clips = {"seed_clip": options["innerclip"], "flood_clip": options["outerclip"]}
    for island in find_islands(finder.img, numpy.zeros_like(finder.img), finder.rmsimg, **clips):
        (y0, y1), (x0, x1) = island.bounding_box
        inside = ~island.mask
        if (finder.img[y0:y1, x0:x1][inside] > 0).all():
            labels[y0:y1, x0:x1][inside] = labels.max() + 1
    return labels

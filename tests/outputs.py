"""The files that commands write, and what is in their pages."""

import base64
import gzip
import json
import re
from typing import Any

import numpy as np

EXTENSIONS = ("fits", "ecsv", "vot", "csv")
BOTH = {
    *(f"{table}.{end}" for table in ("catalog", "components") for end in EXTENSIONS),
    *("mask.fits", "model.fits", "residual.fits", "regions.reg", "regions.crtf", "report.html"),
    "run.json",
}
DETECTED = BOTH | {f"moment{order}.fits" for order in range(3)}
DENOISED = BOTH | {"denoised.fits", "uncertainty.fits", "probability.fits", "mask_diffuse.fits"}


def check_alone(page: str) -> None:
    """A page brings all that it needs with it."""
    tags = "script|img|iframe|object|image"
    page = re.sub(r"(?s)(<script[^>]*>).*?</script>", r"\1", page)
    outside = rf"""(?i)<(?:{tags})[^>]*?(?:src|href|data)\s*=\s*(?!["']?data:)|<link|@import"""
    assert not re.search(outside, page)


def live_source(page: str, name: str) -> dict[str, Any]:
    """Columns of one of a page's data sources: arrays, lists of these, or lists."""

    def value(kept: Any) -> Any:
        if isinstance(kept, list):
            return [value(v) for v in kept]
        if not isinstance(kept, dict) or "type" not in kept:
            return kept
        if kept["type"] == "map":
            return {key: value(v) for key, v in kept["entries"]}
        if kept["type"] == "ndarray":
            data = kept["array"]
            raw = base64.b64decode(data["data"]) if isinstance(data, dict) else data
            raw = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
            flat = np.frombuffer(raw, kept["dtype"]) if isinstance(raw, bytes) else np.array(value(raw))
            return flat.reshape(kept["shape"])
        return kept.get("value", kept)

    def search(part: Any) -> Any:
        if isinstance(part, dict):
            if part.get("name") == "ColumnDataSource" and part.get("attributes", {}).get("name") == name:
                return value(part["attributes"]["data"])
            part = list(part.values())
        if isinstance(part, list):
            return next((found for found in map(search, part) if found is not None), None)
        return None

    for text in re.findall(r"const docs_json = '(.*?)';\n", page):
        found = search(json.loads(text.replace("\\\\", "\\").replace("\\'", "'")))
        if found is not None:
            return found
    raise AssertionError(f"no source {name!r} in the page")

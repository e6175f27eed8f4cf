"""The sources of a continuum image: searched for tile by tile, judged together, catalogued."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from astropy.table import Table, vstack
from numpy.typing import NDArray

from faintsky.arrays import Array32, Float, Index, Labels
from faintsky.blocks import Maps, made_once
from faintsky.denoising import Eye
from faintsky.detection.counts import NoisePeaks
from faintsky.detection.diffuse import AGAINST, join_tables
from faintsky.detection.judging import Judged, judge, regions_of
from faintsky.detection.painting import Painted, islands_of, measure_region, paint, paint_tasks, region_task
from faintsky.detection.sources import pixels_of
from faintsky.detection.tiles import MANY, SearchPlan, SeenTile, look, plan, tiles_of
from faintsky.image import RadioImage
from faintsky.options import BACKGROUND_SCALE, RELIABILITY, Progress
from faintsky.preparing import PreparedImage, PrimaryBeam
from faintsky.system import BYTES_OF_TABLES, LOCAL, Needs, Workers

STEPS = 6
"""Steps of progress that are reported where there is one tile."""
BRIGHT = 10.0
"""S/N of sources whose sizes are compared with the beam."""
NARROW = 3.0
"""Standard errors by which a flux is less than its peak if the source is narrower than the beam."""
FEW, ALIKE = 3, 0.25
"""Number and share of narrow sources from which the user is told."""
SEARCHING = 15
"""Time to search a tile over the time to paint it."""


@dataclass
class DetectedImage:
    """What was found in an image, in the unit of the file; NaN where the image is blank.

    Attributes
    ----------
    catalog, components : astropy.table.Table
        Objects, the most significant first, and the Gaussians and regions that they are made of.
    mask : array of int
        Number of the object in the catalogue, 0 outside, ``[y, x]``.
    image : array
        The model: all components, ``[y, x]``.
    uncertainty : array
        The noise, with artefacts where there are any, ``[y, x]``.
    residual : array
        Input minus the model.
    prepared : PreparedImage
        Input, noise and beam.
    kind : str
        ``restored`` or ``dirty``.
    candidates : int
        Components and diffuse regions before the cut in reliability.
    noise : NoisePeaks
        Expected in the image.
    notes : list of str
        What was assumed or corrected.
    rule : str
        Which objects are listed, in words.
    regions : array of int or None
        Number of the diffuse region in the catalogue, 0 outside, ``[y, x]``; None where the network was not
        asked.
    denoised, denoised_error : array or None
        The network's image of the diffuse emission plus all compact sources, at the beam's resolution, and
        its standard deviation, ``[y, x]``.
    thin : int
        Where the image has several tiles, all arrays hold every n-th pixel, or averages over n x n pixels:
        the full ones are in the maps.
    sample : DetectedImage or None
        In that case, part of the image at full resolution.
    corner : tuple of int or None
        First channel, row and column of such a part.
    lost : list of str
        Parts of the file that could not be read.
    """

    catalog: Table
    components: Table
    mask: Labels
    image: Array32
    uncertainty: Array32
    residual: Array32
    prepared: PreparedImage
    kind: str
    candidates: int
    noise: NoisePeaks
    notes: list[str] = field(default_factory=list)
    rule: str = ""
    regions: Labels | None = None
    denoised: Array32 | None = None
    denoised_error: Array32 | None = None
    thin: int = 1
    sample: DetectedImage | None = None
    corner: tuple[int, int, int] | None = None
    lost: list[str] = field(default_factory=list)


def detect_image(
    image: RadioImage, *, eye: Eye | None = None, always: bool = False, against: float = AGAINST,
    reliability: float = RELIABILITY, background_scale: float = BACKGROUND_SCALE,
    maps: Maps | None = None, jobs: int = 1, cluster: str = LOCAL, progress: Progress | None = None,
) -> DetectedImage:  # fmt: skip
    """Find and measure the sources of a continuum image.

    Where diffuse emission is found, the compact sources are searched for again without it.

    Parameters
    ----------
    image : RadioImage
        With its psf, primary beam, rms and mask where known.
    eye : callable, optional
        A network that shows diffuse emission; without it only compact sources are found.
    always : bool, optional
        Run it even where nothing hints at diffuse emission.
    against : float, optional
        Lowest S/N of a region over that of the deepest negative near it.
    reliability : float
        Lowest reliability of an object.
    background_scale : float
        Scale of the background that is subtracted for the fits [beam].
    maps : Maps, optional
        Where to write the results: ``mask``, ``model`` and the other maps; in memory by default.
    jobs : int, optional
        Processes that share the tiles; more than one needs maps in files.
    cluster : str, optional
        See `faintsky.system.run_tasks`.
    progress : callable, optional
        Called with steps done, steps in all, and a word.

    Raises
    ------
    InputError
        Where the image cannot be used.
    """

    how = plan(
        image, eye=eye, always=always, against=against, reliability=reliability,
        background_scale=background_scale,
    )  # fmt: skip
    maps = maps or Maps((image.shape[1], image.shape[2]))
    done, total = 0, STEPS if how.whole else (SEARCHING + 1) * len(how.blocks)

    def tell(word: str, steps: int | None = None) -> None:
        nonlocal done
        done = steps if steps is not None else done + (SEARCHING if "searched" in word else 1)
        if progress is not None:
            progress(min(done, total), total, word)

    tell("noise", 0)
    if always and eye is not None:
        maps.begin("denoised", "uncertainty", *(["probability"] if maps.shared else []))
    shares = (jobs, cluster) if maps.shared else (1, LOCAL)
    with Workers(*shares) as workers:
        if how.whole:
            seen = [look(how, 0, maps, lambda step, word: tell(word, step))]
        else:
            seen = workers.results(
                partial(_look, how, maps), range(len(how.blocks)), partial(tell, "tiles searched")
            )
        prepared = _prepared(how, seen)
        flat = np.ptp(prepared.rms[prepared.valid]) == 0
        in_data = PrimaryBeam(image, None if flat else prepared.rms, prepared.valid).in_data
        judged = judge(how, seen, prepared.beam_pixels)
        regions = regions_of(how, seen, prepared.beam_area, MANY)
        measured = _regions_measured(
            workers.results(
                partial(measure_region, how, maps, prepared, in_data),
                [region_task(judged, r) for r in regions],
            ),
            maps,
        )
        good = np.array([r >= reliability for t in measured for r in t["reliability"]], bool)
        snr = np.array([v for t in measured for v in t["snr"]], float)[good]
        order = np.argsort(-np.concatenate([judged.strength, snr]), kind="stable")
        ids = np.empty(len(order), np.intp)
        ids[order] = np.arange(1, len(order) + 1)
        few, asked = len(judged.members), any(s.regions is not None for s in seen)
        called = np.zeros(len(good) + 1, np.intp)
        called[1:][good] = ids[few:]
        if how.whole:
            tell("catalogue", STEPS - 1)
        maps.begin(
            "mask", "model", *(["residual"] if maps.shared else []), *(["mask_diffuse"] if asked else [])
        )
        work = partial(paint, how, maps, how.prepared or prepared, in_data, called if asked else None)
        told = None if how.whole else partial(tell, "tiles painted")
        painted = workers.results(work, paint_tasks(how, judged, ids[:few]), told)
    table = None
    if good.any():
        table = vstack(measured, metadata_conflicts="silent")[good]
        table["id"] = ids[few:]
    found = _assembled(how, maps, prepared, painted, judged, table, asked)
    found.candidates += len(good)
    kind = next(s.kind for s in seen if s.kind is not None)
    found.kind = kind.name
    said = [note for s in seen for note in s.notes]
    found.notes = list(dict.fromkeys([*image.notes, *PrimaryBeam(image).notes, kind.note, *said]))
    most = max(s.background for s in seen)
    if most > 0:
        found.notes.append(f"a smooth background of up to {most:.2g} sigma was subtracted for the fits")
    blank = sum(s.kind is None for s in seen)
    if blank:
        found.notes.append(f"{blank} of {len(seen)} tiles hold no data")
    found.notes += _at_edges(np.concatenate([s.cut for s in seen])) + _narrow(found.catalog)
    found.lost = list(dict.fromkeys(words for s in seen for words in s.lost))
    found.notes += found.lost
    tell("done", total)
    return found


def _at_edges(cut: Float) -> list[str]:
    """A note on sources that edges cut."""
    if not len(cut):
        return []
    x, y, snr = cut[np.abs(cut[:, 2]).argmax()]
    return [
        f"not listed: {len(cut)} bright source{'s' * (len(cut) > 1)} centred outside the data"
        f" (S/N {snr:.3g} at x={x:.0f}, y={y:.0f})"
    ]


def _narrow(catalog: Table) -> list[str]:
    """A note on sources that are narrower than the beam: one of both is wrong."""
    bright = np.asarray((catalog["kind"] == "gaussian") | (catalog["kind"] == "point"), bool)
    bright &= np.asarray(catalog["snr"], float) > BRIGHT
    flux, error, peak = (np.asarray(catalog[k], float)[bright] for k in ("flux", "flux_err", "flux_peak"))
    narrow = np.abs(flux) + NARROW * error < np.abs(peak)
    if narrow.sum() < FEW or narrow.sum() < ALIKE * bright.sum():
        return []
    ratio = np.median((flux / peak)[narrow])
    return [
        f"{narrow.sum()} of {bright.sum()} bright sources are narrower than the beam (flux / peak"
        f" {ratio:.2f}): the header's beam may be wrong, and all fluxes with it"
    ]


def _look(how: SearchPlan, maps: Maps, number: int) -> SeenTile:
    """See `look`."""
    return made_once(maps, number, partial(look, how, number, maps), how.image.lost)


def _prepared(how: SearchPlan, seen: Sequence[SeenTile]) -> PreparedImage:
    """The prepared image; of several tiles every n-th pixel."""
    if how.whole:
        assert seen[0].prepared is not None
        return seen[0].prepared
    assert how.prepared is not None
    parts = {s.number: s.prepared for s in seen if s.prepared is not None}
    arrays = {
        name: _mosaic(how, {k: getattr(p, name) for k, p in parts.items()}, fill)
        for name, fill in (("data", 0.0), ("valid", False), ("rms", np.nan))
    }
    first = next(iter(parts.values()))
    return replace(first, data=arrays["data"], valid=arrays["valid"], rms=arrays["rms"])


def _mosaic(how: SearchPlan, parts: dict[int, NDArray[Any]], fill: Any) -> NDArray[Any]:
    """The tiles' maps put together."""
    shape = tuple(-(-n // how.thin) for n in how.image.shape[1:])
    out = np.full(shape, fill, next(iter(parts.values())).dtype)
    for number, values in parts.items():
        y, x = (w.start // how.thin for w in how.blocks[number].write)
        out[y : y + values.shape[0], x : x + values.shape[1]] = values
    return out


def _regions_measured(made: Sequence[tuple[Table, tuple[slice, slice], Labels]], maps: Maps) -> list[Table]:
    """Tables of the regions, which are numbered 1 … n in the map ``parts``."""
    count = 0
    for table, window, labels in made:
        there = maps.read("parts", window) if "parts" in maps.names else np.zeros_like(labels)
        maps.write("parts", window, np.where(labels > 0, labels + count, there))
        count += len(table)
    return [table for table, _, _ in made]


def _assembled(
    how: SearchPlan, maps: Maps, prepared: PreparedImage, painted: Sequence[Painted], judged: Judged,
    regions: Table | None, asked: bool,
) -> DetectedImage:  # fmt: skip
    """One catalogue, and the maps, or the thinned maps for the report."""

    tables = []
    for name in ("catalog", "components"):
        parts = [getattr(p, name) for p in painted]
        table = vstack([p for p in parts if len(p)] or parts[:1], metadata_conflicts="silent")
        table.meta = dict(parts[0].meta) | {"rms_median": prepared.typical_rms}
        tables.append(table[np.argsort(table["id"], kind="stable")])
    catalog, components = tables
    more = 0 if regions is None else len(regions)
    islands = islands_of(how, painted, len(judged.members) + more)
    if regions is None:
        for table in (catalog, components):
            table["island"] = islands[np.asarray(table["id"], int)]
    else:
        catalog["parent"] = _parents(how, maps, catalog)
        catalog, components = join_tables(catalog, components, regions, islands)
    catalog.meta |= {
        "noise_peaks_amplitude": judged.noise.amplitude,
        "noise_peaks_stretch": judged.noise.stretch,
    }
    shown = {
        name: _mosaic(how, {p.number: p.shown[name] for p in painted}, np.nan if name != "mask" else 0)
        for name in painted[0].shown
    }
    rule = f"of reliability {how.reliability:g} and above"
    common = (catalog, components), judged, rule
    if shown:
        middle = how.blocks[len(how.blocks) // 2].write
        there = maps.read("noise", middle)
        here = replace(
            prepared, data=np.nan_to_num(how.image.taken(middle)[0]), valid=there > 0,
            rms=np.where(there > 0, there, np.nan),
        )  # fmt: skip
        sample = {name: maps.read(name, middle) for name in ("noise", "mask", "model")}
        found = _found(*common, replace(prepared, data=np.nan_to_num(shown["data"])), shown, asked)
        found.sample = _found(*common, here, sample, False)
        found.sample.corner = (0, middle[0].start, middle[1].start)
        found.thin = how.thin
        if not how.always:
            found.denoised = found.denoised_error = None
        return found
    everything = slice(0, how.image.shape[1]), slice(0, how.image.shape[2])
    names = ["noise", "mask", "model", *(["mask_diffuse", "denoised", "uncertainty"] if asked else [])]
    return _found(*common, prepared, {name: maps.read(name, everything) for name in names}, asked)


def _found(
    tables: tuple[Table, Table], judged: Judged, rule: str, prepared: PreparedImage,
    maps: dict[str, NDArray[Any]], asked: bool,
) -> DetectedImage:  # fmt: skip
    """The result, with the maps given."""
    blank = np.where(prepared.valid, np.float32(0), np.float32(np.nan))
    model, noise = maps["model"].astype(np.float32), maps["noise"].astype(np.float32)
    return DetectedImage(
        *tables, maps["mask"], model + blank, noise + blank, prepared.data.astype(np.float32) - model + blank,
        prepared, "", judged.candidates, judged.noise, rule=rule,
        regions=maps.get("mask_diffuse", maps["mask"]) if asked else None,
        denoised=maps.get("denoised"), denoised_error=maps.get("uncertainty"),
    )  # fmt: skip


def _parents(how: SearchPlan, maps: Maps, catalog: Table) -> Index:
    """The region that each object lies in, 0 for none."""
    place = np.stack([catalog[k] for k in ("x", "x", "y")], axis=1)
    y, x = pixels_of(place, (how.image.shape[1], how.image.shape[2]))
    out = np.zeros(len(catalog), np.intp)
    for block in how.blocks:
        j, i = block.write
        its = np.flatnonzero((y >= j.start) & (y < j.stop) & (x >= i.start) & (x < i.stop))
        if len(its):
            out[its] = maps.read("mask_diffuse", block.write)[y[its] - j.start, x[its] - i.start]
    return out


BYTES_OF_WORKER = 0.58e9
"""Memory of the libraries of a process that searches tiles, and freed memory that it keeps."""
BYTES_A_TILE_PIXEL = 200
"""Memory of a pixel of a tile (of 1,792 pixels a side with its margins)."""
BYTES_A_SHOWN_PIXEL = 100
"""What the network adds to it."""
SECONDS_A_TILE = 1.0
"""Time of one processor core for any tile."""
SECONDS_A_PIXEL = 4e-6
"""Time for a pixel of a tile."""
SECONDS_A_PASS = 3.5e-6
"""Time for a pixel that the network sees."""
BYTES_OF_PARENT = 0.33e9
"""Memory of the process that hands out tiles and makes tables and report."""
BYTES_OF_SOURCES = 3
"""Memory of the sources, for each pixel."""


def needs_of_detection(shape: tuple[int, int]) -> Needs:
    """Memory, disk and time of `detect_image`, as measured on a CPU; crowded images take longer."""
    pixels = shape[0] * shape[1]
    return Needs(0.35e9 + 150 * pixels, 16 * pixels + BYTES_OF_TABLES, 3.0 + 3.5e-6 * pixels)


def needs_of_tiles(image: RadioImage, workers: int, passes: int = 0) -> Needs:
    """Memory, disk and time of `detect_image` where several processes share the tiles.

    Parameters
    ----------
    image : RadioImage
    workers : int
        Processes.
    passes : int, optional
        How often the network sees the image; 0: only where something hints at diffuse emission.

    Returns
    -------
    Needs
    """
    blocks = tiles_of(image)
    read = [b.shape[0] * b.shape[1] for b in blocks]
    n_y, n_x = image.shape[1:]
    sky = n_y * n_x
    tile = max(read) * (BYTES_A_TILE_PIXEL + (BYTES_A_SHOWN_PIXEL if passes else 0))
    # mask, model, residual, the noise; with the network mask_diffuse, probability and six intermediate maps
    disk = sky * (16 + 4 + (36 if passes else 8)) + BYTES_OF_TABLES
    seconds = SECONDS_A_TILE * len(blocks) + sum(read) * (SECONDS_A_PIXEL + max(passes, 0.3) * SECONDS_A_PASS)
    several = min(workers, len(blocks))
    parent = BYTES_OF_PARENT + BYTES_OF_SOURCES * sky
    return Needs(BYTES_OF_WORKER + tile, disk, seconds, len(blocks), several, parent)

"""Find the line emitters of a cube: prepare, search, measure, judge."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from astropy.table import Table

from faintsky.arrays import Array32
from faintsky.detection.catalogue import build_catalog, in_the_shadow
from faintsky.detection.counts import NoisePeaks
from faintsky.detection.matched_filter import decimation
from faintsky.detection.measuring import Measurement
from faintsky.detection.methods import Found
from faintsky.detection.moments import MomentSums
from faintsky.detection.objects import group_components, label_mask, one_source, touching
from faintsky.detection.pursuit import Component, Pursuit
from faintsky.detection.resolved import Resolved
from faintsky.detection.search import Search, cut_off, inside, judge_lines, search_cube
from faintsky.image import RadioCube
from faintsky.models import Model, load_model
from faintsky.options import RELIABILITY, Progress
from faintsky.preparing import PreparedCube, PrimaryBeam, curvature
from faintsky.system import BYTES_OF_TABLES, Needs, choose_device

DOUBTFUL = 0.5
"""Factor on the reliability of a possible sidelobe."""
PART_SNR = 4.0
"""Least effective S/N of a further component of an accepted source."""


@dataclass(kw_only=True)
class Detections(Found):
    """What was found in a cube, with the data it was found in.

    Attributes
    ----------
    prepared : PreparedCube
        Line cube, noise, continuum and psf that were used.
    noise : NoisePeaks or None
        The noise peaks expected in the cube, where the method knows them.
    candidates : int
        Candidates before the cut in reliability: lines and resolved galaxies.
    components : astropy.table.Table or None
        One row for each fitted line, with the source that it belongs to; None where each source is one line.
    sample : Detections or None
        Of a part of the cube, where the whole is too large for the report.
    corner : tuple of int or None
        First channel, row and column of such a part.
    shown : dict of array
        In that case, maps for the report, ``[y, x]``; `moments` holds the sums for those of the lines.
    """

    prepared: PreparedCube
    noise: NoisePeaks | None = None
    candidates: int = 0
    components: Table | None = None
    sample: Detections | None = None
    corner: tuple[int, ...] | None = None
    shown: dict[str, Array32] = field(default_factory=dict)
    moments: MomentSums | None = None

    def about(self, cube: RadioCube, row: Any) -> tuple[RadioCube, Detections, Any]:
        """A cube that shows a source of the catalogue, what was found in it, and the source's row there."""
        return cube, self, row


def find_sources(
    cube: RadioCube,
    model: str | Model = "classical",
    *,
    reliability: float = RELIABILITY,
    device: str = "auto",
    progress: Progress | None = None,
) -> Detections:
    """Find and measure the line emitters (and absorbers) of a cube.

    Parameters
    ----------
    cube : RadioCube
        With its psf and primary beam where they are known.
    model : str or Model
        ``classical`` is the matched filter.
    reliability : float
        Lowest reliability of a source in the catalogue.
    device : {"auto", "cpu", "cuda"}
        Where PyTorch computes the filter bank.
    progress : callable, optional
        Called with steps done, steps in all, and a word.

    Raises
    ------
    InputError
        See `prepare_cube`.
    """
    chosen = load_model(model) if isinstance(model, str) else model
    tell = progress or (lambda done, total, word: None)

    def say(done: int, word: str) -> None:
        tell(done, 4, word)

    from threadpoolctl import threadpool_limits

    # The fits multiply many small matrices: on a busy machine a threaded BLAS spends a hundred times longer
    # waiting for its own threads than multiplying. PyTorch keeps its own.
    with threadpool_limits(limits=1, user_api="blas"):
        search = search_cube(cube, chosen.settings, device=choose_device(device), say=say)
        say(3, "measuring")
        search.pursuit.tell = lambda n: say(3, f"measuring ({n} lines)")
        found = finish(search, chosen, reliability)
    say(4, "done")
    return found


def finish(search: Search, model: Model, reliability: float = RELIABILITY) -> Detections:
    """Judge, measure and list the sources of a search, which cannot be used afterwards.

    Parameters
    ----------
    search : Search
    model : Model
        The matched filter's.
    reliability : float
        Lowest reliability of a source.

    Returns
    -------
    Detections
    """
    cube, prepared, pursuit = search.cube, search.prepared, search.pursuit
    catalog, parts, order = settle(search, model, reliability)
    mask = label_mask(pursuit.components, [g for g in order if isinstance(g, list)], prepared, pursuit.data)
    # labels of the compact lines, numbered as in the catalogue
    numbers = [0, *(k for k, g in enumerate(order, start=1) if isinstance(g, list))]
    mask = np.array(numbers, dtype=np.int32)[mask]
    made = pursuit.model()
    for k, g in enumerate(order, start=1):
        if isinstance(g, Resolved):
            mask[g.box][g.mask] = k
            made[g.box] += g.inside
    notes = notes_of(cube, prepared, float(prepared.present[prepared.valid].mean()))
    return Detections(
        catalog, mask, prepared.restored(made), notes=notes, prepared=prepared,
        noise=search.noise, components=parts,
        candidates=all_candidates(search.tried + len(search.resolved), catalog),
    )  # fmt: skip


def all_candidates(tried: int, catalog: Table) -> int:
    """Number of candidates: those of the search, and lines that are found later, at continuum sources."""
    return max(tried, len(catalog))


CURVED = 0.5
"""Movement of sidelobes over the band [beam] above which a straight line in frequency no longer follows
them."""


def notes_of(cube: RadioCube, prepared: PreparedCube, share: float) -> list[str]:
    """What was assumed of a cube, in words.

    Parameters
    ----------
    cube : RadioCube
    prepared : PreparedCube
    share : float
        Fraction of the spectra with a continuum.

    Returns
    -------
    list of str
    """
    kind = [] if prepared.psf_origin == "given" else [prepared.kind.note]
    if prepared.channels is not None:
        kind.append(prepared.channels.note)
    notes = [*cube.notes, *PrimaryBeam(cube).notes, *kind, f"psf: {_PSF_WORDS[prepared.psf_origin]}"]
    notes += _on_continuum(cube, prepared, share)
    if prepared.sidelobes_stay:
        notes.append(
            "the sidelobes of bright sources stay in the cube, and may look like sources: give --psf"
        )
    return notes


def _on_continuum(cube: RadioCube, prepared: PreparedCube, share: float) -> list[str]:
    """Notes on how the continuum was subtracted, where needed, and on whether that suffices."""
    out = []
    if prepared.asked != "auto":
        out.append(f"{'a' if share else 'no'} continuum was subtracted, as requested")
    elif share:
        out.append(f"a continuum was subtracted from {100 * share:.3g} % of the spectra")
    if prepared.lines_first:
        out.append(
            "lines and their sidelobes fill the band: they were subtracted before the continuum was measured"
        )
    if not share or prepared.kind.name != "dirty" or cube.frequencies is None:
        return out
    field = float(np.hypot(cube.shape[1], cube.shape[2])) / 2 / prepared.beam_pixels
    moved = curvature(cube.frequencies, field)
    if moved > CURVED:
        out.append(
            f"sidelobes of continuum sources move by up to {moved:.1f} beams over the band, too far for a "
            "straight line in each spectrum: subtract the continuum from the visibilities"
        )
    return out


def settle(
    search: Search, model: Model, reliability: float = RELIABILITY
) -> tuple[Table, Table, list[list[int] | Resolved]]:
    """Decide which sources there are, and make their catalogue.

    Parameters
    ----------
    search : Search
    model : Model
    reliability : float
        Lowest reliability of a source.

    Returns
    -------
    catalog, components : Table
    order : list
        For each row of the catalogue its components or its galaxy.
    """
    settings, prepared, pursuit = model.settings, search.prepared, search.pursuit
    judge_lines(search.candidates, search.negative, search.noise, len(pursuit.bank.line_fwhm))
    for c, doubt in zip(search.candidates, doubts_of(prepared, search.candidates)):
        c.reliability *= doubt
    search.keep(accepted(search.candidates, reliability, prepared.beam_pixels))
    groups = measured_groups(search.cube, prepared, pursuit, settings, reliability, search.noise.stretch)
    galaxies = [r for r in search.resolved if r.reliability >= reliability]
    return build_catalog(search.cube, prepared, pursuit.components, [*groups, *galaxies], search.noise)


def doubts_of(prepared: PreparedCube, candidates: Sequence[Component]) -> list[float]:
    """Factor on each candidate's reliability: below 1 for possible sidelobes."""
    shadows = [prepared.sidelobes_stay and in_the_shadow(prepared, [c], candidates) for c in candidates]
    return [DOUBTFUL if dark else 1.0 for dark in shadows]


def accepted(candidates: Sequence[Component], reliability: float, beam_pixels: float) -> list[Component]:
    """Candidates that are reliable enough, and further components of the same sources.

    Parameters
    ----------
    candidates : sequence of Component
    reliability : float
        Lowest reliability.
    beam_pixels : float
        FWHM of the beam [pixel].

    Returns
    -------
    list of Component
    """
    kept = [c for c in candidates if c.reliability >= reliability]
    rest = [c for c in candidates if c.reliability < reliability]
    return _with_their_parts(kept, rest, beam_pixels)


def measured_groups(
    cube: RadioCube,
    prepared: PreparedCube,
    pursuit: Pursuit,
    settings: Mapping[str, Any],
    reliability: float,
    stretch: float,
) -> list[list[int]]:
    """Make the final fits of a search's components, and group them to sources.

    Parameters
    ----------
    cube : RadioCube
    prepared : PreparedCube
    pursuit : Pursuit
        With the accepted components; changed in place.
    settings : mapping
        Of the model.
    reliability : float
        Lowest reliability of a line found at a continuum source.
    stretch : float
        See `NoisePeaks`.

    Returns
    -------
    list of list of int
        Components of each source.
    """
    measurement = Measurement(
        pursuit,
        prepared,
        lambda s: (
            inside(s, cube, pursuit.imager) and not (s.amplitude < 0 and cut_off(s, prepared.sigma.size))
        ),
    )
    measurement.run(int(settings["final_rounds"]), reliability, stretch)
    # the last fits may have moved a component out of the data
    pursuit.components = [c for c in pursuit.components if inside(c.source, cube, pursuit.imager)]
    homes = [measurement.home.get(id(c)) for c in pursuit.components]
    hosts = [measurement.host(c) for c in pursuit.components]
    return group_components(pursuit.components, prepared.beam_pixels, homes, hosts)


_PSF_WORDS = {
    "given": "as given",
    "noise": "measured from the correlation of the noise",
    "robust": "computed from the correlation of the noise and the header's beam (robust weights): fluxes "
    "are less certain than with --psf",
    "beam": "a Gaussian of the beam's size",
}


def _with_their_parts(kept: list[Component], rest: list[Component], beam_pixels: float) -> list[Component]:
    """Accepted components, and further components of the same sources.

    A galaxy that is not a Gaussian needs several components, and one beside a brighter one is doubtful as a
    source. It is a part of that source where it exceeds by `PART_SNR` what the brighter one's model may
    leave, and no dip separates the two.
    """
    kept, rest = list(kept), [c for c in rest if c.effective_snr > PART_SNR]
    grown = True
    while grown:
        grown = False
        for c in rest:
            whole = [k for k in kept if touching(c, k, beam_pixels) and one_source(c, k, [*kept, c])]
            if whole:
                c.reliability = max(k.reliability for k in whole)
                kept.append(c)
                rest = [r for r in rest if r is not c]
                grown = True
                break
    return kept


BYTES_FIXED = 0.37e9
"""Memory of the libraries. Like those below: resident set sizes of cubes of 0.3 to 17 million voxels, beams
of 3.5 and 8.5 pixels, with psf and primary beam."""
BYTES_A_VOXEL = 32
"""Memory of a voxel's data, line cube, residual and working space."""
BYTES_A_FILTERED = 33
"""Memory of a voxel of the image as it is filtered, in all filtered cubes and their peaks."""
SECONDS_FIXED = 6.0
"""Time of one processor core, for any cube."""
SECONDS_A_VOXEL = 3e-7
"""Time for a voxel; a cube with very many sources takes more."""


def needs_of_search(shape: tuple[int, ...], beam_pixels: float = 0.0) -> Needs:
    """Needs of the matched filter, which are the largest of all methods.

    Parameters
    ----------
    shape : tuple of int
        ``[chan, y, x]``.
    beam_pixels : float, optional
        Geometric-mean FWHM of the beam [pixel]; 0 where it is not known.
    """
    voxels = math.prod(shape)
    memory = BYTES_FIXED + voxels * (BYTES_A_VOXEL + BYTES_A_FILTERED / decimation(beam_pixels) ** 2)
    return Needs(memory, voxels * 8 + BYTES_OF_TABLES, SECONDS_FIXED + voxels * SECONDS_A_VOXEL)


def needs_of_cube(cube: RadioCube) -> Needs:
    """`needs_of_search` from a cube's header."""
    beam = 0.0 if cube.beams is None else float(np.sqrt(np.nanmax(cube.beams[:, 0] * cube.beams[:, 1])))
    return needs_of_search(cube.shape, beam / cube.grid.cell)

"""Telescopes as records (site, stations, receivers, primary beam, defaults), and tracks across the sky.

A new telescope is a file here with its record, a table of its stations, and its name in `TELESCOPES`.
"""

from typing import TYPE_CHECKING

from faintsky.system.lazy import lazy

if TYPE_CHECKING:
    from faintsky.telescopes.alma import primary_beam, visibility_sigma
    from faintsky.telescopes.arrays import AntennaArray, enu_to_itrf, itrf_to_geodetic, read_cfg
    from faintsky.telescopes.lofar import everybeam_beam, gaussian_beam
    from faintsky.telescopes.record import CUTOFF, Preset, Telescope, cutoff_radius, load_array, telescope
    from faintsky.telescopes.tracks import DAY, SIDEREAL, Track, make_track, transit, ut1_minus_utc

TELESCOPES = ("alma", "lofar", "meerkat")
"""The telescopes; each is a file here, with its record as ``TELESCOPE``."""

lazy(__name__)

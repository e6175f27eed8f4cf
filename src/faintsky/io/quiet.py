"""Warnings of third-party readers that say nothing a user could act on."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_reading() -> Iterator[None]:
    """Within the block, ignore astropy's remarks on headers that it understood all the same."""
    from astropy.io.fits.verify import VerifyWarning
    from astropy.utils.exceptions import AstropyUserWarning
    from astropy.wcs import FITSFixedWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FITSFixedWarning)
        # cards and units that break the standard but can be read: every second radio header has some
        warnings.simplefilter("ignore", VerifyWarning)
        # a truncated file is found by its length, see `faintsky.io.fits`
        warnings.filterwarnings("ignore", "File may have been truncated", AstropyUserWarning)
        warnings.filterwarnings("ignore", "Unexpected extra padding", AstropyUserWarning)
        warnings.filterwarnings("ignore", "Unexpected bytes trailing", AstropyUserWarning)
        warnings.filterwarnings("ignore", "non-ASCII characters are present", AstropyUserWarning)
        # of what is no FITS file, which is said in one line
        warnings.filterwarnings("ignore", "Header block contains null bytes", AstropyUserWarning)
        # integer data whose BLANK is NaN after scaling
        warnings.filterwarnings("ignore", "invalid value encountered in cast", RuntimeWarning)
        warnings.filterwarnings("ignore", "overflow encountered in cast", RuntimeWarning)
        yield

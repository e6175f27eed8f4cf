"""What calibration leaves behind: gains of stations that are not quite 1, smooth in time.

Each station multiplies its signal by ``g = (1 + a) exp(i phi)``, whatever the direction, so that a visibility
of stations p and q becomes ``g_p conj(g_q) V_pq`` (Smirnov 2011, A&A 527, A106, eq. 7, scalar Jones terms).
``a`` and ``phi`` are Gaussian random functions of time, independent from station to station. Noise is not
touched: it is of the calibrated data.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_REACH = 4.0
_KNOTS = 3.0


@dataclass(frozen=True)
class GainErrors:
    """Their size.

    Parameters
    ----------
    amplitude : float
        Standard deviation of ``a``.
    phase : float
        Standard deviation of ``phi`` [deg].
    timescale : float
        Lag at which the correlation has fallen to 1/e [s]; it is a Gaussian of the lag.
    """

    amplitude: float = 0.0
    phase: float = 0.0
    timescale: float = 1200.0

    def __bool__(self) -> bool:
        return self.amplitude > 0 or self.phase > 0

    def draw(
        self, rng: np.random.Generator, times: NDArray[np.float64], n_stations: int
    ) -> NDArray[np.complex64]:
        """Gains at some times.

        Parameters
        ----------
        rng : numpy.random.Generator
        times : array
            ``[time]`` [s]
        n_stations : int

        Returns
        -------
        array
            ``[time, station]``
        """
        # white noise on knots, weighted by a Gaussian: any number of times costs the same random numbers
        width = self.timescale / 2
        step = width / _KNOTS
        knots = np.arange(times[0] - _REACH * width, times[-1] + _REACH * width + step, step)
        weights = np.exp(-0.5 * ((times[:, None] - knots) / width) ** 2)
        weights /= np.sqrt((weights**2).sum(axis=1, keepdims=True))
        a, phi = (weights @ rng.standard_normal((len(knots), n_stations)) for _ in range(2))
        gains = (1 + self.amplitude * a) * np.exp(1j * np.deg2rad(self.phase) * phi)
        return gains.astype(np.complex64)


def baseline_factors(gains: NDArray[np.complexfloating]) -> NDArray[np.complex64]:
    """What visibilities are multiplied by: ``[time, station]`` to ``[row]``, rows as tracks have them."""
    one, two = np.triu_indices(gains.shape[1], k=1)
    return (gains[:, one] * gains[:, two].conj()).astype(np.complex64).ravel()

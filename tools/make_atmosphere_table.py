"""Make `src/faintsky/telescopes/data/atmosphere.npz` with CASA's atmosphere tool.

The profile is the one that simobserve's ``tsys-atm`` uses (ATM's tropical atmosphere above 5000 m, ground at
270 K and 560 mbar with 20 % humidity, lapse rate -5.6 K/km, water scale height 2 km, top at 48 km). For each
frequency the table holds the zenith opacity of dry air, that of a millimetre of water, and the mean radiation
temperature of the atmosphere, from which `faintsky.telescopes.alma` has the sky at any airmass and PWV.

Frequencies are kept where straight lines between their neighbours would miss by more than the tolerance, so
that the ozone lines are resolved and the windows between them cost nothing.

Needs the ``casa`` extra; takes minutes::

    python tools/make_atmosphere_table.py src/faintsky/telescopes/data/atmosphere.npz
"""

from __future__ import annotations

import argparse
import sys

import numpy as np

LOW_GHZ, HIGH_GHZ, STEP_GHZ, WINDOW = 35.0, 950.0, 0.004, 2500
PWV_MM = np.array([0.25, 0.5, 1.0, 2.0, 4.0, 8.0])
AIRMASS = np.array([1.0, 2.0])
KELVIN_PER_GHZ = 0.04799274551  # h/k with CASA's constants
T_CMB = 2.725
TOLERANCE = 0.002


def occupation(ghz, kelvin):
    """Photons per mode of a black body at ``kelvin``."""
    return 1 / np.expm1(KELVIN_PER_GHZ * ghz / kelvin)


def kelvin(ghz, photons):
    """Inverse of `occupation`."""
    return KELVIN_PER_GHZ * ghz / np.log1p(1 / photons)


def window(at, qa, first_ghz):
    """Dry opacity, wet opacity per mm and mean temperature ``[pwv, airmass, freq]`` of one window."""
    at.initAtmProfile(
        humidity=20.0,
        temperature=qa.quantity(270.0, "K"),
        altitude=qa.quantity(5000.0, "m"),
        pressure=qa.quantity(560.0, "mbar"),
        maxAltitude=qa.quantity(48.0, "km"),
        dTem_dh=qa.quantity(-5.6, "K/km"),
        dP=qa.quantity(10.0, "mbar"),
        dPm=1.2,
        h0=qa.quantity(2.0, "km"),
        atmType=1,
    )
    middle = first_ghz + STEP_GHZ * (WINDOW // 2)
    at.initSpectralWindow(
        1,
        qa.quantity(middle, "GHz"),
        qa.quantity(STEP_GHZ * WINDOW, "GHz"),
        qa.quantity(STEP_GHZ, "GHz"),
    )
    ghz = np.asarray(at.getSpectralWindow(0)["value"]) / 1e9
    dry = np.asarray(at.getDryOpacitySpec(0)[1])
    at.setUserWH2O(qa.quantity(1.0, "mm"))
    wet = np.asarray(at.getWetOpacitySpec(0)[1]["value"])
    mean = np.empty((PWV_MM.size, AIRMASS.size, ghz.size))
    at.setSkyBackgroundTemperature(qa.quantity(T_CMB, "K"))
    for i, pwv in enumerate(PWV_MM):
        at.setUserWH2O(qa.quantity(float(pwv), "mm"))
        for j, airmass in enumerate(AIRMASS):
            at.setAirMass(float(airmass))
            sky = np.asarray(at.getTebbSkySpec(0)[1]["value"])
            through = np.exp(-(dry + pwv * wet) * airmass)
            photons = (occupation(ghz, sky) - occupation(ghz, T_CMB) * through) / (1 - through)
            mean[i, j] = kelvin(ghz, photons)
    return ghz, dry, wet, mean


def kept(x, curves, tolerance):
    """Indices at which to keep the curves ``[curve, x]`` so that lines between them stay within tolerance."""
    keep, stack = {0, x.size - 1}, [(0, x.size - 1)]
    while stack:
        a, b = stack.pop()
        if b - a < 2:
            continue
        part = (x[a : b + 1] - x[a]) / (x[b] - x[a])
        ends = curves[:, a, None], curves[:, b, None]
        miss = np.abs(curves[:, a : b + 1] - ends[0] - (ends[1] - ends[0]) * part).max(axis=0)
        worst = int(miss.argmax())
        if miss[worst] > tolerance:
            keep.add(a + worst)
            stack += [(a, a + worst), (a + worst, b)]
    return np.array(sorted(keep))


def main():
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out")
    arguments = parser.parse_args()
    sys.argv = sys.argv[:1]  # casaconfig reads it
    import casaconfig.config as config
    import casadata

    config.datapath = [casadata.datapath]
    config.measurespath = casadata.datapath
    config.measures_auto_update = config.data_auto_update = False
    config.nologger = config.nogui = True
    from casatools import atmosphere, quanta

    at, qa = atmosphere(), quanta()
    parts = []
    for first in np.arange(LOW_GHZ, HIGH_GHZ, STEP_GHZ * WINDOW):
        parts.append(window(at, qa, float(first)))
        print(f"{first:.1f} GHz", flush=True)
    ghz, dry, wet = (np.concatenate([p[i] for p in parts]) for i in range(3))
    mean = np.concatenate([p[3] for p in parts], axis=-1)
    # system temperature relative to a good receiver's, as the noise sees it, at a dry and at a wet time
    curves = []
    for i, airmass in ((1, 1.0), (3, 1.0), (3, 2.0)):
        through = np.exp(-(dry + PWV_MM[i] * wet) * airmass)
        sky = mean[i, int(airmass) - 1] * (1 - through)
        system = np.minimum((40.0 + 0.15 * ghz + sky) / np.maximum(through, 1e-6), 1e5)
        curves.append(np.log(system))
    index = kept(ghz, np.array(curves), TOLERANCE)
    np.savez_compressed(
        arguments.out,
        freq_ghz=ghz[index],
        dry_opacity=dry[index].astype(np.float32),
        wet_opacity_per_mm=wet[index].astype(np.float32),
        pwv_mm=PWV_MM,
        airmass=AIRMASS,
        # hundredths of a kelvin
        mean_temperature_ck=np.round(mean[..., index] * 100).astype(np.uint16),
    )
    print(f"{index.size} of {ghz.size} frequencies kept")


if __name__ == "__main__":
    main()

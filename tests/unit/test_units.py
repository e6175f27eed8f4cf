"""Units in the spellings of headers and users."""

import pytest
from astropy import units as u

from faintsky.errors import InputError
from faintsky.units import axis_unit, is_brightness, quantity, read_unit, unit_text

BRIGHTNESS = {
    "Jy/beam": "Jy/beam JY/BEAM Jy/bm Jy/BEAM JY/B 'Jy/beam' Jy.beam-1 Jy*beam^-1 jy/Beams Jansky/beam",
    "mJy/beam": "mJy/beam MJY/BEAM mJy.beam**-1 MilliJansky/beam mJy/bm 1e-3Jy/beam",
    "uJy/beam": "uJy/beam UJY/BEAM micro_Jy/beam microJy/beam µJy/beam μJy/beam ?Jy/beam ??Jy/beam",
    "MJy/sr": "MJy/sr MJY/SR MJy.sr-1 MegaJy/steradian",
    "mJy/sr": "mJy/sr",
    "Jy/pix": "Jy/pixel JY/PIXEL Jy/px Jy/pix",
    "Jy/arcsec2": "Jy/arcsec2 Jy/arcsec^2 JY/ARCSEC**2 Jy/sqarcsec",
    "K": "K k Kelvin KELVIN K_Tb K(Tmb) K[Tmb]",
    "mK": "mK mk",
}


@pytest.mark.parametrize(("unit", "text"), [(k, t) for k, v in BRIGHTNESS.items() for t in v.split()])
def test_spellings_of_brightness(unit, text):
    read = read_unit(text)
    assert read == u.Unit(unit)
    assert is_brightness(read)


@pytest.mark.parametrize("text", ["K (Tmb)", "K (TMB)", "k (t_mb)", "K (Tb)"])
def test_main_beam_temperatures_are_brightness(text):
    assert read_unit(text) == u.K


@pytest.mark.parametrize("text", ["Jy/beam", "Jy/pixel", "Jy/arcsec2", "mJy/beam", "K", "counts"])
def test_units_are_written_as_they_are_read(text):
    assert read_unit(unit_text(read_unit(text))) == read_unit(text)
    assert unit_text(read_unit(text)).count(" ") <= (text == "mJy/beam")


@pytest.mark.parametrize("text", ["Jy beam-1", "Jy per beam", "Jy / beam", "beam-1 Jy", "JY / BEAM"])
def test_spaces_within_a_unit(text):
    assert read_unit(text) == u.Jy / u.beam


@pytest.mark.parametrize(
    "text",
    ["counts", "W.U.", "WU", "K (Ta*)", "MK", "mjy/sr", "ADU", "-1", "3", "1e400", "-2 Jy/beam", "%"],
)
def test_what_is_not_known_stays_as_it_is_written(text):
    """Antenna temperatures want an efficiency; MK and mjy/sr may be milli or mega."""
    unit = read_unit(text)
    assert not is_brightness(unit)
    assert unit.to_string("fits") == text


@pytest.mark.parametrize("text", ["km/s", "Jy", "Jy/beam.km/s", "JY/B*KM/S", "K km/s", "ct", "dB"])
def test_known_units_that_give_no_flux(text):
    assert not is_brightness(read_unit(text))


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("HZ", "Hz"), ("GHZ", "GHz"), ("MHZ", "MHz"), ("M/S", "m/s"), ("KM/S", "km/s"), ("km/sec", "km/s"),
        ("km s-1", "km/s"), ("km.s^-1", "km/s"), ("DEGREE", "deg"), ("Degrees", "deg"), ("ASEC", "arcsec"),
    ],
)  # fmt: skip
def test_units_of_axes(text, unit):
    assert axis_unit(text) == u.Unit(unit)


@pytest.mark.parametrize(
    ("value", "hertz"),
    [("1.42GHz", 1.42e9), ("1420.405752 MHz", 1420405752), ("1e9 hz", 1e9), (2e9, 2e9), (3 * u.GHz, 3e9)],
)
def test_quantities(value, hertz):
    assert quantity(value, "frequency", "--rest-frequency") == pytest.approx(hertz)


@pytest.mark.parametrize("value", ["1420", "x", "3 furlong", "", "3km/s", 3 * u.m, [1, 2]])
def test_what_is_no_quantity_is_refused_with_its_units(value):
    with pytest.raises(InputError, match=r"--rest-frequency .*Hz"):
        quantity(value, "frequency", "--rest-frequency")

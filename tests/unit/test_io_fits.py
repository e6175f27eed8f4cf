"""FITS in any layout: axes, spectral quantities, units, beams; and the same axes out."""

from itertools import permutations

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits

from faintsky import open_cube, open_image
from faintsky.errors import InputError
from faintsky.grid import SPEED_OF_LIGHT
from faintsky.io import save_like

N = {"x": 32, "y": 32, "chan": 24, "": 1}
NAMES = {"x": 1, "y": 2, "chan": 3}
REST = 1.001e11


def permuted(make_fits, header, noisy, axes, name="p.fits"):
    """A file whose axes, in numpy's order, are ``axes``; an empty name is a Stokes axis."""
    base, out = header(), header()
    for key in list(out):
        if key[:5] in ("CTYPE", "CRVAL", "CDELT", "CRPIX", "CUNIT"):
            out.remove(key)
    for number, axis in enumerate(reversed(axes), start=1):
        for key in ("CTYPE", "CRVAL", "CDELT", "CRPIX", "CUNIT"):
            stokes = {"CTYPE": "STOKES", "CRVAL": 1.0, "CDELT": 1.0, "CRPIX": 1.0, "CUNIT": ""}
            out[f"{key}{number}"] = base[f"{key}{NAMES[axis]}"] if axis else stokes[key]
    cube = noisy().astype(np.float32)
    order = [a for a in axes if a]
    data = np.transpose(cube, [("chan", "y", "x").index(a) for a in order])
    data = np.expand_dims(data, [i for i, a in enumerate(axes) if not a])
    path = make_fits(name)
    fits.writeto(path, data, out, overwrite=True)
    return path, cube, data


ORDERS = [*permutations(["", "chan", "y", "x"]), *permutations(["chan", "y", "x"])]


@pytest.mark.parametrize("axes", ORDERS, ids=lambda a: "-".join(n or "stokes" for n in a))
def test_axes_in_any_order_in_and_out(make_fits, header, noisy, tmp_path, axes):
    path, cube, data = permuted(make_fits, header, noisy, axes)
    opened = open_cube(path)
    np.testing.assert_array_equal(opened.data, cube)
    np.testing.assert_allclose(opened.frequencies, 1e11 + 1e7 * np.arange(24), rtol=1e-13)
    np.testing.assert_allclose(opened.sky(16, 16), [150.0, -30.0], atol=1e-9)
    saved = save_like(tmp_path / "out.fits", opened.data * 2, opened)
    with fits.open(saved) as hdus:
        np.testing.assert_array_equal(hdus[0].data, data * 2)
        assert hdus[0].header["CTYPE*"] == fits.getheader(path)["CTYPE*"]


@pytest.mark.parametrize("extension", [".fits", ".fits.gz", ".fits.fz", ".zarr"])
def test_written_files_read_back_exactly(make_fits, tmp_path, extension):
    opened = open_cube(make_fits(OBJECT="NGC 1"))
    path = save_like(tmp_path / f"out{extension}", opened.data, opened, provenance={"seed": 7})
    back = open_cube(path)
    np.testing.assert_array_equal(back.data, opened.data)
    np.testing.assert_array_equal(back.beams, opened.beams)
    np.testing.assert_array_equal(back.frequencies, opened.frequencies)
    assert back.grid == opened.grid
    assert back.unit == opened.unit
    assert back.header["OBJECT"] == "NGC 1"
    assert "faintsky seed: 7" in str(back.header["HISTORY"])
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["cube.fits", path.name])


def test_labels_are_written_as_integers_without_unit(make_fits, tmp_path):
    opened = open_cube(make_fits())
    labels = (opened.data > 0.01).astype(np.int64) * 70000
    with fits.open(save_like(tmp_path / "mask.fits", labels, opened)) as hdus:
        assert hdus[0].header["BITPIX"] == 32
        assert hdus[0].header["BUNIT"] == ""
        np.testing.assert_array_equal(hdus[0].data, labels)


def test_a_map_made_from_a_cube_keeps_the_band(make_fits, tmp_path):
    opened = open_cube(make_fits())
    path = save_like(tmp_path / "moment.fits", opened.data.sum(axis=0), opened, unit="Jy km / (beam s)")
    image = open_image(path)
    assert image.layout.shape == (1, 32, 32)
    assert image.unit == u.Unit("Jy km / (beam s)")
    assert image.frequencies[0] == pytest.approx(opened.frequencies.mean(), rel=1e-12)
    assert image.spectral.width == pytest.approx(24e7)


def test_provenance_outside_ascii_is_escaped(make_fits, tmp_path):
    opened = open_cube(make_fits())
    path = save_like(
        tmp_path / "o.fits", opened.data, opened, provenance={"command": "faintsky détect\n" * 20}
    )
    text = "".join(str(fits.getheader(path)["HISTORY"]).splitlines())
    assert "d\\xe9tect" in text


def spectral_cards(kind, value, step, **more):
    unit = "m" if kind == "WAVE" else "m/s"
    return {"CTYPE3": kind, "CRVAL3": value, "CDELT3": step, "CUNIT3": unit, **more}


C = SPEED_OF_LIGHT
V = 3e5 + 2e3 * np.arange(24)


@pytest.mark.parametrize(
    ("cards", "frequencies", "convention"),
    [
        (spectral_cards("VRAD", 3e5, 2e3), REST * (1 - V / C), "radio"),
        (spectral_cards("VOPT", 3e5, 2e3), REST / (1 + V / C), "optical"),
        (spectral_cards("VELO", 3e5, 2e3), REST * np.sqrt((1 - V / C) / (1 + V / C)), "relativistic"),
        (spectral_cards("VELO-LSR", 3e5, 2e3, VELREF=257), REST * (1 - V / C), "radio"),
        (spectral_cards("VRAD", 300.0, 2.0, CUNIT3="km/s"), REST * (1 - V / C), "radio"),
        (spectral_cards("VRAD", 3e5, -2e3), REST * (1 - (6e5 - V) / C), "radio"),
        (spectral_cards("WAVE", 3e-3, 1e-7), C / (3e-3 + 1e-7 * np.arange(24)), "radio"),
        ({"CRVAL3": 100.0, "CDELT3": -0.01, "CUNIT3": "GHz"}, 1e11 - 1e7 * np.arange(24), "radio"),
        ({"VELREF": 2}, 1e11 + 1e7 * np.arange(24), "optical"),
        # regular in frequency, labelled in optical velocity: the paper III example of an F2W axis
        (
            spectral_cards("VOPT-F2W", 3e5, 2e3),
            REST / (1 + 3e5 / C) - 2e3 * REST / C / (1 + 3e5 / C) ** 2 * np.arange(24),
            "optical",
        ),
    ],
)
def test_spectral_axes_become_frequencies(make_fits, cards, frequencies, convention):
    opened = open_cube(make_fits(**cards))
    np.testing.assert_allclose(opened.frequencies, frequencies, rtol=1e-10)
    assert opened.spectral.convention == convention
    assert opened.channel_widths()[0] == pytest.approx(abs(frequencies[1] - frequencies[0]), rel=1e-6)
    if cards.get("CTYPE3") == "VRAD" and cards["CDELT3"] == 2e3:
        np.testing.assert_allclose(opened.velocities(), V / 1e3, rtol=1e-9)


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("MJY/BEAM", "mJy/beam"),
        ("K (Tmb)", "K"),
        ("Jy/beam.km/s", "Jy km / (beam s)"),
        ("", "Jy/beam"),
        ("none", "Jy/beam"),
        ("W.U.", "W.U."),
        ("Jy/beam/beam)", "Jy/beam/beam)"),
    ],
)
def test_units_are_read_and_written(make_fits, tmp_path, text, unit):
    opened = open_cube(make_fits(BUNIT=text))
    assert opened.unit == u.Unit(unit, parse_strict="silent")
    unknown = {"Jy/beam.km/s", "W.U.", "Jy/beam/beam)"}
    assert any("fluxes are not known" in n for n in opened.notes) == (text in unknown)
    assert any("no BUNIT" in n for n in opened.notes) == (text in ("", "none"))
    saved = save_like(tmp_path / "o.fits", opened.data, opened)
    assert open_cube(saved).unit == opened.unit
    if text in ("W.U.", "Jy/beam/beam)"):
        assert fits.getheader(saved)["BUNIT"] == text


@pytest.mark.parametrize("micro", [b"\xb5Jy/beam", "µJy/beam".encode()], ids=["Latin-1", "UTF-8"])
def test_letters_outside_ascii_in_a_header(make_fits, tmp_path, micro):
    path = make_fits(BUNIT="u" * len(micro), OBJECT="x" * 6)
    text = path.read_bytes().replace(b"u" * len(micro), micro).replace(b"x" * 6, b"\xe9toile")
    path.write_bytes(text)
    opened = open_cube(path)
    assert opened.unit == u.uJy / u.beam
    saved = save_like(tmp_path / "o.fits", opened.data, opened, provenance={"command": "détect"})
    assert fits.getheader(saved)["BUNIT"] == "uJy beam-1"
    np.testing.assert_array_equal(open_cube(saved).data, opened.data)


def beams_hdu(major, minor, pa, unit="arcsec", pol=None, chan=None):
    columns = [
        fits.Column("BMAJ", "1E", unit=unit, array=major),
        fits.Column("BMIN", "1E", unit=unit, array=minor),
        fits.Column("BPA", "1E", unit="deg", array=pa),
        fits.Column("CHAN", "1J", array=np.arange(len(major)) if chan is None else chan),
        fits.Column("POL", "1J", array=np.zeros(len(major)) if pol is None else pol),
    ]
    return fits.BinTableHDU.from_columns(columns, name="BEAMS")


@pytest.mark.parametrize(("unit", "scale"), [("arcsec", 1.0), ("deg", 3600.0)])
def test_beams_table_one_a_channel(make_fits, tmp_path, unit, scale):
    major = np.linspace(2.0, 3.0, 24)
    table = beams_hdu(major / scale, major / 2 / scale, np.full(24, -20.0), unit)
    opened = open_cube(make_fits(extra=[table], BMAJ=None, BMIN=None, BPA=None, CASAMBM=True))
    np.testing.assert_allclose(opened.beams[:, 0], major, rtol=1e-6)
    np.testing.assert_allclose(opened.beams[:, 1], major / 2, rtol=1e-6)
    np.testing.assert_allclose(opened.beams[:, 2], 160.0)
    back = open_cube(save_like(tmp_path / "o.fits", opened.data, opened))
    np.testing.assert_allclose(back.beams, opened.beams, rtol=1e-6)
    labels = open_cube(save_like(tmp_path / "l.fits", opened.data > 0, opened))
    assert "CASAMBM" not in labels.header


def test_impossible_rows_of_a_beams_table_take_their_neighbours(make_fits):
    major = np.full(24, 2.0)
    major[[0, 7]] = [0.0, -1.0]
    opened = open_cube(make_fits(extra=[beams_hdu(major, major / 2, np.zeros(24))]))
    np.testing.assert_allclose(opened.beams, np.tile([2.0, 1.0, 0.0], (24, 1)))
    assert "2 of 24" in opened.notes[0]


@pytest.mark.parametrize("counted_from", [0, 1, 100])
def test_rows_of_a_beams_table_in_any_order(make_fits, counted_from):
    chan = np.random.default_rng(0).permutation(24)
    major = 2.0 + 0.1 * chan
    table = beams_hdu(major, major / 2, np.zeros(24), chan=chan + counted_from)
    opened = open_cube(make_fits(extra=[table]))
    np.testing.assert_allclose(opened.beams[:, 0], 2.0 + 0.1 * np.arange(24), rtol=1e-6)
    assert not opened.notes


def test_channels_that_a_beams_table_lacks_take_the_nearest(make_fits):
    chan = np.array([20, 3, 10])
    table = beams_hdu(2.0 + 0.1 * chan, np.ones(3), np.zeros(3), chan=chan)
    opened = open_cube(make_fits(extra=[table]))
    nearest = chan[np.abs(np.arange(24)[:, None] - chan).argmin(axis=1)]
    np.testing.assert_allclose(opened.beams[[0, 3, 10, 16, 23], 0], 2.0 + 0.1 * nearest[[0, 3, 10, 16, 23]])
    assert "21 of 24 beams are missing" in opened.notes[0]


def test_a_beams_table_of_the_whole_cube_beside_a_part_of_it(make_fits):
    major = np.linspace(2.0, 3.0, 101)
    opened = open_cube(make_fits(extra=[beams_hdu(major, major / 2, np.zeros(101))]))
    np.testing.assert_allclose(opened.beams, np.tile([2.5, 1.25, 0], (24, 1)))
    assert "does not fit the 24 channels" in opened.notes[0]


def test_beams_of_each_stokes_plane(tmp_path, header):
    chan, pol = np.tile(np.arange(4), 2), np.repeat([1, 0], 4)
    table = beams_hdu(2.0 + 0.1 * chan + pol, np.ones(8), np.zeros(8), chan=chan, pol=pol)
    head = header(CTYPE4="STOKES", CRVAL4=1.0, CDELT4=1.0, CRPIX4=1.0)
    path = tmp_path / "iq.fits"
    fits.HDUList([fits.PrimaryHDU(np.ones((2, 4, 8, 8), "f4"), head), table]).writeto(path)
    for k, letter in enumerate("IQ"):
        beams = open_cube(path, stokes=letter).beams
        np.testing.assert_allclose(beams[:, 0], 2.0 + 0.1 * np.arange(4) + k, rtol=1e-6)


def test_beams_of_aips(make_fits):
    """Its CG table names no channel, and its axes are in degrees."""
    columns = [fits.Column("FREQUENCY", "1D", unit="HZ", array=np.arange(24.0))]
    for name, value in (("BMAJ", 2.0), ("BMIN", 1.0), ("BPA", 0.0)):
        array = np.full(24, value / (3600 if name != "BPA" else 1))
        columns.append(fits.Column(name, "1E", unit="DEGREES", array=array))
    table = fits.BinTableHDU.from_columns(columns, name="AIPS CG")
    np.testing.assert_allclose(open_cube(make_fits(extra=[table])).beams[5], [2, 1, 0], rtol=1e-6)


def test_beam_from_the_cards_of_gipsy(make_fits):
    path = make_fits(BMAJ=None, BMIN=None, BPA=None, BMMAJ=2.0, BMMIN=1.5, BMPA=20.0)
    np.testing.assert_allclose(open_cube(path).beams[0], [2.0, 1.5, 20.0])


def test_beam_from_the_history_of_aips(make_fits, header, noisy):
    path = make_fits(BMAJ=None, BMIN=None, BPA=None)
    with fits.open(path, mode="update") as hdus:
        hdus[0].header.add_history("AIPS   CLEAN BMAJ=  5.5556E-04 BMIN=  4.1667E-04 BPA=  12.50")
    opened = open_cube(path)
    np.testing.assert_allclose(opened.beams[0], [2.0, 1.5, 12.5], rtol=1e-3)
    assert "history" in opened.notes[0]


def test_data_in_an_extension(make_fits, header, noisy, tmp_path):
    path = tmp_path / "ext.fits"
    table = fits.BinTableHDU.from_columns([fits.Column("A", "1E", array=[1.0])])
    image = fits.ImageHDU(noisy().astype(np.float32), header())
    fits.HDUList([fits.PrimaryHDU(), table, image]).writeto(path)
    assert open_cube(path).shape == (24, 32, 32)


def test_reference_pixel_outside_the_image(make_fits):
    opened = open_cube(make_fits(CRPIX1=-19.0))
    assert opened.grid.x0 == -20.0
    np.testing.assert_allclose(opened.sky(-20, 16), [150.0, -30.0], atol=1e-9)
    assert (opened.grid.ra, opened.grid.dec) == (150.0, -30.0)


def test_companions_from_files_with_and_without_coordinates(make_fits, tmp_path):
    fits.writeto(tmp_path / "rms.fits", np.full((1, 32, 32), 2e-3))
    pb = make_fits("pb.fits", data=np.full((24, 32, 32), 0.5, dtype=np.float32))
    opened = open_cube(make_fits(), rms=tmp_path / "rms.fits", pb=pb)
    assert opened.rms.shape == (1, 32, 32)
    assert opened.pb.shape == (24, 32, 32)


def test_a_companion_of_another_shape_is_refused_before_data_are_read(make_fits, tmp_path):
    fits.writeto(tmp_path / "rms.fits", np.ones((31, 32)))
    with pytest.raises(InputError, match=r"rms.fits: its shape \(1, 31, 32\) does not fit"):
        open_cube(make_fits(), rms=tmp_path / "rms.fits")

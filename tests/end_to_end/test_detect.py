"""`faintsky.detect` from a file to files: the contract, the report, and a real cube."""

import json
import re

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from outputs import DETECTED, check_alone, live_source
from synthetic import CELL, FIRST, REST, WIDTH, Emitter, telescope

import faintsky
from faintsky import detect, detection
from faintsky.catalog import has_flag, read_catalog
from faintsky.errors import InputError

SURE = 0.995  # few peaks of the noise of these small cubes pass
NGC3256 = "ngc3256_co10_64.fits.gz"


def write_cube(path, n_chan=32, axes=4, emitters=True, **cards):
    t = telescope(64)
    sources = [
        t.at_snr(Emitter(24.0, 30.0, 12.0, maj=5, min=4, fwhm_z=5), 40, 1e-3, n_chan),
        t.at_snr(Emitter(44.0, 38.0, 20.0, fwhm_z=4), 25, 1e-3, n_chan),
    ]
    data = t.cube(sources if emitters else [], n_chan, seed=1)
    header = fits.Header()
    kinds = [
        ("RA---SIN", 150.0, -CELL / 3600, "deg", 33.0), ("DEC--SIN", -30.0, CELL / 3600, "deg", 33.0),
        ("FREQ", FIRST, WIDTH, "Hz", 1.0), ("STOKES", 1.0, 1.0, "", 1.0),
    ]  # fmt: skip
    for i, (kind, value, step, unit, pixel) in enumerate(kinds[:axes], start=1):
        header[f"CTYPE{i}"], header[f"CRVAL{i}"], header[f"CDELT{i}"] = kind, value, step
        header[f"CRPIX{i}"], header[f"CUNIT{i}"] = pixel, unit
    header["BUNIT"], header["RESTFRQ"], header["SPECSYS"] = "Jy/beam", REST, "LSRK"
    header["BMAJ"], header["BMIN"] = t.beam[0] * CELL / 3600, t.beam[1] * CELL / 3600
    header["BPA"] = t.beam[2]
    header.update(cards)
    fits.PrimaryHDU(data[None] if axes == 4 else data, header).writeto(path)
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """One finished run: input, output folder, result."""
    folder = tmp_path_factory.mktemp("run")
    cube = write_cube(folder / "cube.fits", OBJECT="<script>alert(1)</script>")
    return cube, folder / "out", detect(cube, folder / "out", reliability=SURE, device="cpu")


# ---------------------------------------------------------------------- files


def test_model_and_residual_are_the_data_and_components_the_sources(run):
    cube, out, result = run
    files = (cube, out / "model.fits", out / "residual.fits")
    data, model, residual = (fits.getdata(f).squeeze() for f in files)
    np.testing.assert_allclose(model + residual, data, atol=1e-6 * np.nanmax(data))
    np.testing.assert_array_equal(residual, result.residual)
    assert np.nanstd(residual[result.mask > 0]) < 0.5 * np.nanstd(data[result.mask > 0])
    parts = read_catalog(out / "components.ecsv")
    assert sorted(set(parts["id"])) == sorted(result.catalog["id"])
    assert len(parts) == len(result.components) == sum(result.catalog["n_components"])


SOFIA = [
    *("name", "id", "x", "y", "z", "x_min", "x_max", "y_min", "y_max", "z_min", "z_max", "n_pix", "f_min"),
    *("f_max", "f_sum", "rel", "flag", "rms", "w20", "w50", "ell_maj", "ell_min", "ell_pa", "ell3s_maj"),
    *("ell3s_min", "ell3s_pa", "kin_pa", "err_x", "err_y", "err_z", "err_f_sum", "ra", "dec", "freq"),
]
"""The columns of the catalogues that SoFiA-2 makes and SoFiAX's database takes."""


def test_sofia_columns_and_cutouts(tmp_path):
    """Names, units and origins; a cubelet holds the cube's own values at their own places."""
    path, out = write_cube(tmp_path / "cube.fits"), tmp_path / "out"
    result = detect(path, out, reliability=SURE, device="cpu", columns="sofia", cutouts=True)
    for table in (Table.read(out / "catalog_sofia.fits"), Table.read(out / "catalog_sofia.xml")):
        assert table.colnames == SOFIA
        units = {
            "x": "pix",
            "f_max": "Jy / beam",
            "f_sum": "Hz Jy",
            "w50": "Hz",
            "freq": "Hz",
            "kin_pa": "deg",
        }
        assert {k: table[k].unit.to_string() for k in units} == units
        for row, ours in zip(table, result.catalog, strict=True):
            z, y, x = np.nonzero(result.mask == ours["id"])
            ends = [int(row[f"{axis}_{end}"]) for axis in "xyz" for end in ("min", "max")]
            assert ends == [x.min(), x.max(), y.min(), y.max(), z.min(), z.max()]
            assert row["n_pix"] == len(x)
            assert row["f_sum"] == pytest.approx(ours["flux_hz"])
            assert row["w50"] == pytest.approx(ours["w50"] * REST / 299792.458, rel=0.02)
            assert row["ell_maj"] == pytest.approx(ours["fwhm_maj"] / CELL / 1.17741, rel=0.01)
            assert row["flag"] == 0
    data = fits.getdata(path)
    for row in result.catalog:
        stem = out / "cube_cubelets" / f"cube_{row['id']}"
        part, header = fits.getdata(f"{stem}_cube.fits", header=True)
        x, y, z = (round(row[k]) for k in "xyz")
        place = WCS(header).wcs_world2pix(WCS(fits.getheader(path)).wcs_pix2world([[x, y, z, 0]], 0), 0)[0]
        i, j, k = (round(v) for v in place[:3])
        assert part[0, k, j, i] == data[0, z, y, x]
        mask, flux = (fits.getdata(f"{stem}_{name}.fits").squeeze() for name in ("mask", "mom0"))
        assert mask.sum() == (result.mask == row["id"]).sum()
        np.testing.assert_array_equal(fits.getdata(f"{stem}_chan.fits").squeeze(), mask.sum(axis=0))
        np.testing.assert_array_equal(np.isfinite(flux), mask.any(axis=0))
        channel, frequency, jansky, pixels = np.loadtxt(f"{stem}_spec.txt").T
        np.testing.assert_allclose(frequency, FIRST + WIDTH * channel)
        np.testing.assert_array_equal(pixels, mask.sum(axis=(1, 2)))
        area = np.pi / 4 / np.log(2) * header["BMAJ"] * header["BMIN"] * (3600 / CELL) ** 2
        km_s = 299792.458 * WIDTH / REST
        assert np.nansum(flux) == pytest.approx(jansky.sum() * area * km_s, rel=1e-4)
    with pytest.raises(InputError, match="for images"):
        detect(path, columns="aegean")


def test_moments_are_those_of_the_lines(run):
    _, out, result = run
    files = [out / f"moment{order}.fits" for order in range(3)]
    assert [fits.getheader(f)["BUNIT"] for f in files] == ["Jy km beam-1 s-1", "km s-1", "km s-1"]
    flux, velocity, spread = (fits.getdata(f).squeeze() for f in files)
    inside = (result.mask > 0).any(axis=0)
    np.testing.assert_array_equal(np.isfinite(flux), inside)
    for row in result.catalog:
        y, x = round(row["y"]), round(row["x"])
        assert velocity[y, x] == pytest.approx(row["velocity"], abs=0.2 * row["fwhm_velocity"])
        # a Gaussian within a mask that cuts its wings off
        assert 0.5 < 2.355 * spread[y, x] / row["fwhm_velocity"] < 1.3
        assert flux[y, x] > 0


def test_the_files_of_the_contract(run):
    _, out, result = run
    assert {p.name for p in out.iterdir()} == DETECTED
    assert result.facts["sources"] == len(result.catalog) == 2
    for name in ("catalog.fits", "catalog.ecsv", "catalog.vot", "catalog.csv"):
        table = read_catalog(out / name)
        assert list(table["id"]) == [1, 2]
        np.testing.assert_allclose(table["flux"], result.catalog["flux"], rtol=1e-6)
        assert list(table["flags"]) == list(result.catalog["flags"])
    record = json.loads((out / "run.json").read_text())
    assert record["complete"]
    assert record["config"]["model"] == "classical"
    assert record["model_hash"]
    assert set(record["files"]) == DETECTED - {"run.json"}
    text = (out / "regions.reg").read_text()
    assert text.count("ellipse") == 2


def test_mask_and_model_have_the_axes_of_the_input(run):
    cube, out, result = run
    with fits.open(cube) as given:
        for name, kind in (("mask.fits", "i"), ("model.fits", "f")):
            with fits.open(out / name) as hdus:
                data, header = hdus[0].data, hdus[0].header
                assert data.shape == given[0].data.shape
                assert data.dtype.kind == kind
                a, b = WCS(given[0].header), WCS(header)
                pixel = (10.0, 50.0, 7.0, 0.0)
                np.testing.assert_allclose(a.wcs_pix2world([pixel], 0), b.wcs_pix2world([pixel], 0))
    mask = fits.getdata(out / "mask.fits")[0]
    assert mask[12, 30, 24] == 1
    assert mask[20, 38, 44] == 2
    assert fits.getheader(out / "model.fits")["BUNIT"].strip().lower() == "jy/beam"
    np.testing.assert_allclose(fits.getdata(out / "model.fits")[0], result.found.model)


def test_a_cube_without_sources(tmp_path):
    result = detect(
        write_cube(tmp_path / "empty.fits", axes=3, emitters=False), tmp_path / "out", device="cpu"
    )
    assert len(result.catalog) == 0
    assert {p.name for p in (tmp_path / "out").iterdir()} == DETECTED
    assert len(read_catalog(tmp_path / "out" / "catalog.ecsv")) == 0
    assert not fits.getdata(tmp_path / "out" / "mask.fits").any()
    assert "No source reaches" in (tmp_path / "out" / "report.html").read_text()


# ---------------------------------------------------------------------- again


def stamps(folder):
    return {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.iterdir()}


def test_the_same_run_again_is_complete_already(run):
    cube, out, _ = run
    before = stamps(out)
    again = detect(cube, out, reliability=SURE, device="cpu", command="another command line")
    assert again.facts["already_complete"]
    assert again.catalog is None
    assert stamps(out) == before


def test_another_run_is_refused_and_overwrites_when_asked(tmp_path):
    cube = write_cube(tmp_path / "cube.fits")
    out = tmp_path / "out"
    detect(cube, out, device="cpu", reliability=0.5)
    before = stamps(out)
    with pytest.raises(InputError, match="another run"):
        detect(cube, out, device="cpu", reliability=0.9)
    assert stamps(out) == before
    detect(cube, out, device="cpu", reliability=0.9, overwrite=True)
    assert json.loads((out / "run.json").read_text())["config"]["reliability"] == 0.9
    assert {p.name for p in out.iterdir()} == DETECTED


def test_a_dry_run_writes_nothing(tmp_path):
    cube = write_cube(tmp_path / "cube.fits")
    plan = detect(cube, tmp_path / "out", dry_run=True).facts
    assert plan["shape"] == [32, 64, 64]
    assert plan["memory_gb"] > 0
    assert not (tmp_path / "out").exists()


def test_a_failure_leaves_nothing(tmp_path, monkeypatch):
    cube = write_cube(tmp_path / "cube.fits")

    def fails(*args, **kwargs):
        raise OSError("no space left on device")

    monkeypatch.setattr("faintsky.report.detection_report", fails)
    with pytest.raises(OSError, match="no space"):
        detect(cube, tmp_path / "new" / "out", device="cpu")
    assert [p.name for p in tmp_path.iterdir()] == ["cube.fits"]


def test_a_failure_keeps_the_former_output(tmp_path, monkeypatch):
    cube = write_cube(tmp_path / "cube.fits")
    out = tmp_path / "out"
    detect(cube, out, device="cpu", reliability=0.5)
    before = stamps(out)

    def fails(*args, **kwargs):
        raise OSError("no space left on device")

    monkeypatch.setattr("faintsky.report.detection_report", fails)
    with pytest.raises(OSError, match="no space"):
        detect(cube, out, device="cpu", overwrite=True)
    assert stamps(out) == before


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"reliability": 1.5}, "give at least 0 and at most 1"),
        ({"model": "nobody"}, "nobody"),
        ({"device": "abacus"}, "abacus"),
    ],
)
def test_wrong_options(tmp_path, options, fault):
    cube = write_cube(tmp_path / "cube.fits")
    with pytest.raises(InputError, match=fault):
        detect(cube, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_cube_in_memory_needs_no_files(tmp_path):
    t = telescope(64)
    source = t.at_snr(Emitter(24.0, 30.0, 12.0, fwhm_z=5), 40, 1e-3, 32)
    steps = []
    result = faintsky.detect(
        t.radio_cube(t.cube([source], 32)),
        reliability=SURE,
        progress=lambda done, total, word: steps.append((done, total)),
    )
    assert len(result.catalog) == 1
    assert "out" not in result.facts
    assert [d for d, _ in steps] == sorted(d for d, _ in steps)
    assert steps[-1][0] == steps[-1][1]


# ---------------------------------------------------------------------- report


def test_the_report_stands_alone(run):
    _, out, _ = run
    page = (out / "report.html").read_text()
    assert page.count('<svg id="source-') == 2  # a drawing for each
    assert "looks like noise" in page
    assert "sigma remain" not in page
    check_alone(page)
    objects = live_source(page, "objects")
    assert all("no_primary_beam" in flags for flags in objects["flags"])
    assert list(objects["id"]) == [1, 2]


def test_figures_are_drawn(run):
    import base64
    import io
    from xml.etree import ElementTree

    from PIL import Image

    _, out, _ = run
    page = (out / "report.html").read_text()
    assert all(np.std(live_source(page, "maps")[f"map{k}"][0]) > 5 for k in range(4))
    codes = re.findall(r"data:image/png;base64,([^\"]+)", page.partition("Spectra and images")[2])
    assert len(codes) == 2
    for code in codes:
        assert np.asarray(Image.open(io.BytesIO(base64.b64decode(code))).convert("RGB")).std() > 12
    for drawing in ElementTree.fromstring(
        "<all>" + "".join(re.findall('<svg id="source-.*?</svg>', page)) + "</all>"
    ):
        # the source's line stands out in its spectrum, whose peak lies where the drawing shades it
        paths = {p.get("stroke"): p.get("d") for p in drawing.iter("path") if len(p.get("d")) > 200}
        points = np.array(re.findall(r"([\d.]+) ([\d.]+)", paths["#444"]), dtype=float)
        shaded = next(r for r in drawing.iter("rect") if r.get("opacity"))
        left, width = float(shaded.get("x")), float(shaded.get("width"))
        top = points[points[:, 1].argmin(), 0]
        assert left <= top <= left + width


def test_markup_in_names_is_escaped(tmp_path):
    folder = tmp_path / "<b onmouseover=alert(1)>&"
    folder.mkdir()
    cube = write_cube(folder / "<script>alert('x')</script>.fits".replace("/", ""), SPECSYS="<i>")
    out = tmp_path / "out"
    detect(cube, out, device="cpu", command="faintsky detect '<img src=x>'")
    page = (out / "report.html").read_text()
    assert "<script>alert" not in page
    assert "<b onmouseover" not in page
    assert "<img src=x" not in page
    assert "&lt;script&gt;" in page


# ---------------------------------------------------------------------- a real cube


@pytest.fixture(scope="module")
def galaxy(request):
    path = request.path.parents[1] / "data" / NGC3256
    return fits.open(path)[0], faintsky.detect(path, device="cpu").found


def test_the_brightest_source_of_ngc3256(galaxy):
    hdu, found = galaxy
    data = hdu.data[0]
    peak = np.array(np.unravel_index(np.nanargmax(data), data.shape))
    modelled = np.array(np.unravel_index(found.model.argmax(), data.shape))
    assert np.abs(modelled - peak).max() <= 2
    assert found.model.max() == pytest.approx(np.nanmax(data), rel=0.1)
    row = found.catalog[np.argmax(found.catalog["flux"])]
    assert found.mask[tuple(peak)] == row["id"]
    # the centre of a galaxy that turns is no more than a beam from its brightest spot
    assert np.hypot(row["x"] - peak[2], row["y"] - peak[1]) < 6.8
    # the header, by hand: one arcsecond a pixel about pixel 33 (from 1), 15.6 MHz a channel
    m, l = np.deg2rad((row["y"] - 32) / 3600), np.deg2rad(-(row["x"] - 32) / 3600)  # noqa: E741
    dec0 = np.deg2rad(-43.905)
    n = np.sqrt(1 - l * l - m * m)
    dec = np.rad2deg(np.arcsin(m * np.cos(dec0) + n * np.sin(dec0)))
    ra = 156.965 + np.rad2deg(np.arctan2(l, n * np.cos(dec0) - m * np.sin(dec0)))
    # FK5 and ICRS differ by some hundredths of an arcsecond
    np.testing.assert_allclose([row["ra"], row["dec"]], [ra, dec], atol=0.1 / 3600)
    # the galaxy's centre: 10 27 51.3, -43 54 14
    assert np.hypot((row["ra"] - 156.9637) * np.cos(dec0), row["dec"] + 43.9039) * 3600 < 5
    frequency = 1.138132993449e11 + row["z"] * 1.562603820624e7
    assert row["freq"] == pytest.approx(frequency, rel=1e-9)
    velocity = 299792.458 * (1 - frequency / 1.152712018e11)
    assert row["velocity"] == pytest.approx(velocity, abs=1e-3)
    # systemic velocity of the galaxy: 2780 km/s or so
    assert 2650 < row["velocity"] < 2950


def test_no_bowl_of_ngc3256_is_a_source(galaxy):
    _, found = galaxy
    assert (found.catalog["flux"] > 0).all()
    assert not has_flag(found.catalog["flags"], "absorption").any()


def test_the_mask_covers_ngc3256(galaxy):
    hdu, found = galaxy
    data = hdu.data[0]
    mask = found.mask
    z, y, x = np.unravel_index(np.nanargmax(data), data.shape)
    yy, xx = np.indices(data.shape[1:])
    beam = np.sqrt(6.845 * 4.514)
    near = np.hypot(yy - y, xx - x) < 2 * beam
    sigma = found.prepared.sigma[:, None, None]
    bright = (sigma > 0) & (found.prepared.line > 10 * sigma) & near
    assert bright.sum() > 300
    assert (mask[bright] > 0).mean() > 0.8
    assert not mask[0].any()
    assert not found.model[0].any()
    # and not all there is
    assert (mask > 0).mean() < 0.35
    outside = np.hypot(yy - y, xx - x) > 27
    assert (mask[:, outside] > 0).mean() < 0.05
    assert mask[z, y, x] > 0


def test_components_belong_to_their_sources(run):
    _, out, result = run
    catalog, components = result.catalog, result.components
    assert len(components) == catalog["n_components"].sum()
    assert list(np.unique(components["id"])) == sorted(catalog["id"])
    for row in catalog:
        own = components[components["id"] == row["id"]]
        assert len(own) == row["n_components"]
        assert own["flux"].sum() == pytest.approx(row["flux"], rel=1e-3)
    back = read_catalog(out / "components.fits")
    np.testing.assert_array_equal(back["flux"], components["flux"])


def test_what_remains_of_a_cube_is_a_note_with_its_place(monkeypatch):
    t = telescope(64)
    cube = t.radio_cube(t.cube([t.at_snr(Emitter(24.0, 30.0, 12.0, fwhm_z=5), 40, 1e-3, 32)], 32))
    find = detection.find_catalog

    def leaves(*args, **options):
        found = find(*args, **options)
        found.prepared.line[7, 20, 50] = 12 * found.prepared.sigma[7]
        return found

    monkeypatch.setattr("faintsky.detection.find_catalog", leaves)
    result = detect(cube, reliability=SURE)
    left = r"1[12]\.\d sigma remain outside the objects at x 50, y 20, channel 7"
    assert re.fullmatch(f"the residual looks like noise, but {left}", result.notes[0])


def test_a_result_is_one_line(run):
    _, out, result = run
    assert repr(result) == f"<Result: cube of 32 x 64 x 64, objects: 2, notes: {len(result.notes)}>"
    again = detect(run[0], out, reliability=SURE, device="cpu")
    assert repr(again) == "<Result: no catalogue, notes: 0>"

"""The catalogue keeps units, types, UCDs and values in all its formats."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.io.votable import parse
from astropy.io.votable.ucd import check_ucd
from astropy.table import vstack

from faintsky.catalog import (
    COLUMNS,
    FLAGS,
    IMAGE_COLUMNS,
    has_flag,
    iau_names,
    join_flags,
    make_components,
    make_table,
    mask_extents,
    read_catalog,
    write_catalog,
)
from faintsky.errors import InputError
from faintsky.grid import LocalFrame

EXTENSIONS = (".fits", ".ecsv", ".vot", ".csv")
CONTRACT = (
    "name id island parent group kind n_components ra dec x y z freq velocity flux flux_fit flux_mask "
    "flux_method flux_hz flux_peak flux_deboosted fwhm_maj fwhm_min pa dc_maj dc_min dc_pa dc_maj_max las "
    "area fwhm_z fwhm_velocity w50 w20 kin_pa continuum rms background snr reliability false_alarm pb x_min "
    "x_max y_min y_max z_min z_max flags"
)
WITH_ERRORS = (
    "ra dec x y z freq velocity flux flux_fit flux_mask flux_hz flux_peak flux_deboosted fwhm_maj fwhm_min "
    "pa dc_maj dc_min dc_pa fwhm_z fwhm_velocity w50 w20 kin_pa continuum"
)


def example(two_d: bool = False):
    columns = {
        "id": [1, 2],
        "ra": [10.0, 11.0],
        "dec": [-30.0, np.nan],
        "flux": [0.1, 1 / 3],
        "flux_method": ["fit", "mask"],
        "flags": ["", "edge,blended"],
        "matched_snr": [9.5, 7.25],
    }
    meta = {"seed": 3, "config": {"a": [1, 2]}, "beam": None, "place": "Ångström"}
    return make_table(columns, meta=meta, two_d=two_d)


def test_columns_are_the_contract_with_errors_beside_measured_values():
    names = list(COLUMNS)
    assert [name for name in names if not name.endswith("_err")] == CONTRACT.split()
    assert [name.removesuffix("_err") for name in names if name.endswith("_err")] == WITH_ERRORS.split()
    assert all(names[names.index(f"{name}_err") - 1] == name for name in WITH_ERRORS.split())


@pytest.mark.parametrize("columns", [COLUMNS, IMAGE_COLUMNS])
def test_units_and_ucds_are_valid(columns):
    for name, spec in columns.items():
        assert check_ucd(spec.ucd, check_controlled_vocabulary=True), name
        u.Unit(spec.unit, format="fits")
        assert spec.description


def test_the_page_of_the_catalogue_has_every_column_and_flag():
    page = (Path(__file__).parents[2] / "docs" / "catalog.md").read_text(encoding="utf-8")
    for name, spec in COLUMNS.items():
        if not name.endswith("_err"):
            marks = "±" * (f"{name}_err" in COLUMNS) + "C" * spec.only_3d + "k" * spec.of_components
            unit = (
                f"{IMAGE_COLUMNS[name].unit}; {spec.unit}"
                if "km/s" in spec.unit and name[:4] == "flux"
                else spec.unit
            )
            assert f"| `{name}` | {marks} | {unit} | {spec.description} |" in page
    for name, meaning in FLAGS.items():
        assert f"| `{name}` | {meaning} |" in page


def test_missing_columns_are_marked_missing_and_extra_ones_kept_last():
    table = example()
    assert np.isnan(table["freq"]).all()
    assert list(table["x_max"]) == [-1, -1]
    assert list(table["parent"]) == [0, 0]
    assert table.colnames[-1] == "matched_snr"


def test_what_follows_from_other_columns_is_filled():
    table = example()
    assert list(table["name"]) == ["J004000.0-300000", ""]
    assert list(table["island"]) == [1, 2]
    np.testing.assert_array_equal(table["flux_fit"], [0.1, np.nan])
    np.testing.assert_array_equal(table["flux_mask"], [np.nan, 1 / 3])
    limits = make_table({"dc_maj_max": [1.0, 2.0], "flags": ["edge,unresolved", ""]})["dc_maj_max"]
    np.testing.assert_array_equal(limits, [1.0, np.nan])


@pytest.mark.parametrize(
    ("ra", "dec", "name"),
    [
        (359.99999, 0.0, "J235959.9+000000"),  # 23:59:59.9976, which is not 24:00:00.0
        (15 * (12 + 34 / 60 + 56.7 / 3600), -(1 + 23 / 60 + 45 / 3600), "J123456.7-012345"),
        (15 * (12 + 34 / 60 + 56.79 / 3600), 1 + 23 / 60 + 45.99 / 3600, "J123456.7+012345"),
        (0.0, -30 / 3600, "J000000.0-000030"),
        (0.0, -0.5 / 3600, "J000000.0-000000"),
        (360.0, 90.0, "J000000.0+900000"),
        (150.0, -89.9999999, "J100000.0-895959"),
        (np.nan, 3.0, ""),
    ],
)
def test_names_are_truncated_as_the_iau_asks(ra, dec, name):
    assert list(iau_names(ra, dec)) == [name]


def test_names_agree_with_the_coordinates_of_astropy():
    from astropy.coordinates import SkyCoord

    rng = np.random.default_rng(1)
    ra, dec = rng.uniform(0, 360, 300), rng.uniform(-90, 90, 300)
    for name, place in zip(iau_names(ra, dec), SkyCoord(ra, dec, unit="deg")):
        digits = place.ra.to_string("hour", sep="", precision=6, pad=True)[:8]
        assert name == f"J{digits}{place.dec.to_string(sep='', precision=6, alwayssign=True, pad=True)[:7]}"


def test_extents_of_masks_are_those_of_their_pixels():
    labels = np.zeros((3, 40, 50), dtype=np.int32)
    labels[1, 10:12, 5:25] = 1  # 20 x 2 pixels
    labels[2, 3, 3] = 3
    frame = LocalFrame(np.tile([[-0.5, 0.0], [0.0, 0.5]], (3, 1, 1)))
    found = mask_extents(labels, [1, 2, 3], frame)
    np.testing.assert_allclose(found["las"], [0.5 * np.hypot(20, 2), np.nan, 0.5 * 2**0.5], rtol=2e-3)
    np.testing.assert_allclose(found["area"], [10, np.nan, 0.25])


def test_quantities_are_converted_to_the_columns_unit():
    table = make_table({"freq": [230.5] * u.GHz, "ra_err": [1.0] * u.deg})
    assert table["freq"][0] == pytest.approx(230.5e9)
    assert table["ra_err"][0] == pytest.approx(3600)


def test_two_d_table_has_no_spectral_columns_and_fluxes_in_jansky():
    table = example(two_d=True)
    assert not {"z", "velocity_err", "z_min", "continuum", "fwhm_velocity", "flux_hz"} & set(table.colnames)
    assert table["flux"].unit == table["flux_mask_err"].unit == u.Jy
    assert example()["flux"].unit == u.Jy * u.km / u.s


def test_components_have_their_part_of_the_columns(tmp_path):
    table = make_components(
        {"id": [1, 1], "ra": [1.0, 2.0], "dec": [3.0, 4.0], "kind": "gaussian", "extra": [1, 2]}
    )
    assert table.colnames[:4] == ["id", "island", "kind", "ra"]
    assert not {"name", "parent", "reliability", "las", "flux_fit"} & set(table.colnames)
    assert table.colnames[-1] == "extra"
    write_catalog(table, tmp_path, "components")
    assert all(read_catalog(path).colnames == table.colnames for path in tmp_path.iterdir())
    assert len(make_components({}, two_d=True)) == 0


def test_columns_of_different_length_are_refused():
    with pytest.raises(ValueError, match="length"):
        make_table({"ra": [1.0, 2.0], "dec": [1.0]})


@pytest.mark.parametrize("two_d", [False, True])
@pytest.mark.parametrize("extension", EXTENSIONS)
def test_written_tables_read_back(tmp_path, extension, two_d):
    table = example(two_d)
    paths = write_catalog(table, tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        back = read_catalog(next(p for p in paths if p.suffix == extension))
    assert back.colnames == table.colnames
    for name in table.colnames[:-1]:
        assert back[name].dtype.kind == table[name].dtype.kind
        assert back[name].unit == table[name].unit
        assert back[name].meta["ucd"] == table[name].meta["ucd"]
        np.testing.assert_array_equal(back[name], table[name])
    np.testing.assert_array_equal(back["matched_snr"], table["matched_snr"])
    if extension in (".fits", ".ecsv"):
        assert dict(back.meta) == dict(table.meta)
    assert sorted(p.suffix for p in tmp_path.iterdir()) == sorted(EXTENSIONS)


@pytest.mark.parametrize("rows", [1, 2])
def test_tables_written_some_rows_at_a_time_are_the_same(tmp_path, monkeypatch, rows):
    table = vstack([example()] * 3, metadata_conflicts="silent")
    (tmp_path / "parts").mkdir()
    whole = write_catalog(table, tmp_path)
    monkeypatch.setattr("faintsky.catalog.AT_ONCE", rows)
    for one, other in zip(whole, write_catalog(table, tmp_path / "parts"), strict=True):
        assert one.read_bytes() == other.read_bytes()
    assert len(read_catalog(tmp_path / "parts" / "catalog.csv")) == 6


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_an_empty_table_keeps_its_types(tmp_path, extension):
    write_catalog(make_table({}), tmp_path, stem="none")
    back = read_catalog(tmp_path / f"none{extension}")
    assert len(back) == 0
    assert back["id"].dtype.kind == "i"
    assert back["flags"].dtype.kind == "U"


def test_votable_tells_other_programs_units_ucds_and_frame(tmp_path):
    write_catalog(example(), tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        document = parse(tmp_path / "catalog.vot", verify="exception")
    element = document.get_first_table()
    fields = {f.name: f for f in element.fields}
    assert fields["ra"].ucd == "pos.eq.ra;meta.main"
    assert fields["flux"].unit == u.Unit("Jy km / s")
    assert fields["ra"].ref == document.resources[0].coordinate_systems[0].ID
    assert {i.name: i.value for i in element.infos}["seed"] == "3"


def test_fits_tells_other_programs_units_ucds_and_meanings(tmp_path):
    write_catalog(example(), tmp_path)
    with fits.open(tmp_path / "catalog.fits") as hdus:
        hdus.verify("exception")
        header = hdus["SOURCES"].header
    number = next(k for k in range(1, 100) if header[f"TTYPE{k}"] == "ra_err")
    cards = [header[f"{card}{number}"] for card in ("TUNIT", "TUCD", "TCOMM")]
    assert cards == ["arcsec", "stat.error;pos.eq.ra", COLUMNS["ra_err"].description]


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("none.ecsv", None, "no such file"),
        ("a.txt", "1 2", "not a catalogue"),
        ("a.ecsv", "not a table", "not a readable catalogue"),
        ("a.vot", "<xml", "not a readable catalogue"),
        ("a.fits", "SIMPLE", "not a readable catalogue"),
    ],
)
def test_what_is_no_catalogue_is_refused(tmp_path, name, content, fault):
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=fault) as caught:
        read_catalog(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_failed_write_leaves_the_old_file(tmp_path):
    write_catalog(example(), tmp_path)
    before = {p: p.read_bytes() for p in tmp_path.iterdir()}
    bad = example()
    bad["thing"] = [object(), object()]
    with pytest.raises(Exception, match=r"."):
        write_catalog(bad, tmp_path)
    assert {p: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_flags_are_joined_once_and_known():
    assert join_flags([]) == ""
    assert join_flags(["edge", "edge", "absorption"]) == "edge,absorption"
    with pytest.raises(KeyError, match="no such flag"):
        join_flags(["edge", "no such flag"])


def test_which_rows_have_a_flag():
    table = example()
    assert list(has_flag(table["flags"], "edge")) == [False, True]

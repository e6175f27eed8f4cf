"""The source table keeps units, types, UCDs and values in all its formats."""

import warnings

import numpy as np
import pytest
from astropy import units as u
from astropy.io.votable import parse
from astropy.io.votable.ucd import check_ucd

from faintsky.catalog import (
    COLUMNS,
    FLAGS,
    add_flag,
    flag_rows,
    has_flag,
    join_flags,
    make_table,
    read_catalog,
    write_catalog,
)
from faintsky.errors import InputError

CONTRACT = [
    *("id", "ra", "dec", "freq", "velocity", "x", "y", "z", "dc_maj", "dc_min", "dc_pa", "fwhm_z"),
    *("fwhm_velocity", "flux", "flux_peak", "pb", "continuum", "snr", "reliability"),
    *("x_min", "x_max", "y_min", "y_max", "z_min", "z_max", "flags"),
]


def example(two_d: bool = False):
    columns = {
        "id": [1, 2],
        "ra": [10.0, 11.0],
        "dec": [-30.0, np.nan],
        "flux": [0.1, 1 / 3],
        "flags": ["", "edge,blended"],
        "matched_snr": [9.5, 7.25],
    }
    return make_table(columns, meta={"seed": 3, "config": {"a": [1, 2]}}, two_d=two_d)


def test_columns_are_the_contract_with_errors_beside_measured_values():
    values = [name for name in COLUMNS if not name.endswith("_err")]
    assert values == CONTRACT
    measured = [*CONTRACT[1:15], "continuum"]
    assert [name for name in COLUMNS if name.endswith("_err")] == [f"{name}_err" for name in measured]
    names = list(COLUMNS)
    assert all(names[names.index(f"{name}_err") - 1] == name for name in measured)


@pytest.mark.parametrize("name", list(COLUMNS))
def test_units_and_ucds_are_valid(name):
    spec = COLUMNS[name]
    assert check_ucd(spec.ucd, check_controlled_vocabulary=True)
    if spec.unit:
        u.Unit(spec.unit)
    assert spec.description


def test_missing_columns_are_marked_missing_and_extra_ones_kept_last():
    table = example()
    assert np.isnan(table["freq"]).all()
    assert list(table["x_max"]) == [-1, -1]
    assert table.colnames[-1] == "matched_snr"


def test_quantities_are_converted_to_the_columns_unit():
    table = make_table({"freq": [230.5] * u.GHz, "ra_err": [1.0] * u.deg})
    assert table["freq"][0] == pytest.approx(230.5e9)
    assert table["ra_err"][0] == pytest.approx(3600)


def test_two_d_table_has_no_spectral_columns_and_fluxes_in_jansky():
    table = example(two_d=True)
    assert not {"freq", "z", "velocity_err", "z_min", "continuum", "fwhm_velocity"} & set(table.colnames)
    assert table["flux"].unit == u.Jy
    assert table["flux_err"].unit == u.Jy
    assert example()["flux"].unit == u.Jy * u.km / u.s


def test_columns_of_different_length_are_refused():
    with pytest.raises(ValueError, match="length"):
        make_table({"ra": [1.0, 2.0], "dec": [1.0]})


@pytest.mark.parametrize("two_d", [False, True])
@pytest.mark.parametrize("extension", [".ecsv", ".vot", ".csv"])
def test_written_tables_read_back(tmp_path, extension, two_d):
    table = example(two_d)
    paths = write_catalog(table, tmp_path)
    back = read_catalog(next(p for p in paths if p.suffix == extension))
    assert back.colnames == table.colnames
    for name in COLUMNS.keys() & set(table.colnames):
        assert back[name].dtype.kind == table[name].dtype.kind
        assert back[name].unit == table[name].unit
        assert back[name].meta["ucd"] == COLUMNS[name].ucd
        np.testing.assert_array_equal(back[name], table[name])
    np.testing.assert_array_equal(back["matched_snr"], table["matched_snr"])
    if extension == ".ecsv":
        assert dict(back.meta) == dict(table.meta)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["catalog.csv", "catalog.ecsv", "catalog.vot"]


@pytest.mark.parametrize("extension", [".ecsv", ".vot", ".csv"])
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


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("none.ecsv", None, "no such file"),
        ("a.txt", "1 2", "not a catalogue"),
        ("a.ecsv", "not a table", "not a readable catalogue"),
        ("a.vot", "<xml", "not a readable catalogue"),
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
    before = (tmp_path / "catalog.ecsv").read_bytes()
    bad = example()
    bad["thing"] = [object(), object()]
    with pytest.raises(Exception, match=r"."):
        write_catalog(bad, tmp_path)
    assert (tmp_path / "catalog.ecsv").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 3


def test_flags_are_added_once_and_known():
    assert add_flag("", "edge") == "edge"
    assert add_flag("edge", "blended") == "edge,blended"
    assert add_flag("edge,blended", "edge") == "edge,blended"
    assert join_flags(["edge", "edge", "absorption"]) == "edge,absorption"
    with pytest.raises(KeyError):
        add_flag("", "no such flag")
    assert {"blended", "edge", "unresolved", "absorption", "no_primary_beam"} <= set(FLAGS)


def test_flagging_rows_is_not_cut_by_the_columns_width():
    table = example()
    flag_rows(table, [True, True], "absorption")
    assert list(table["flags"]) == ["absorption", "edge,blended,absorption"]
    assert list(has_flag(table["flags"], "edge")) == [False, True]
    assert table["flags"].meta["ucd"] == COLUMNS["flags"].ucd

"""Every telescope is a record: each of its presets simulates, its options are its own, settings come back."""

import json

import numpy as np
import pytest
from astropy.io import fits
from scipy.spatial.distance import pdist

import faintsky
from faintsky.errors import InputError
from faintsky.options import options_of
from faintsky.simulating import SimulationSettings, recorded_settings
from faintsky.telescopes import TELESCOPES, cutoff_radius, load_array, telescope

RECORDS = [telescope(name) for name in TELESCOPES]
PRESETS = [(r.name, preset) for r in RECORDS for preset in r.presets]
SMALL = {
    "cube": {"size": 48, "channels": 6, "total_time": "300s", "integration": "100s"},
    "image": {"size": 48, "total_time": "20min", "integration": "10min", "primary_beam": "gaussian"},
}


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FAINTSKY_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def small(name, preset):
    record = telescope(name)
    known = SMALL[record.presets[preset].data]
    return {k: v for k, v in known.items() if k in options_of(getattr(faintsky, f"simulate_{name}"))[0]}


@pytest.mark.parametrize(("name", "preset"), PRESETS)
def test_every_preset_simulates_and_its_settings_come_back(tmp_path, name, preset):
    made = getattr(faintsky, f"simulate_{name}")(tmp_path, seed=3, preset=preset, **small(name, preset))
    record = telescope(name)
    assert made[f"{record.presets[preset].data}s"] == 1
    header = fits.getheader(tmp_path / "0000_dirty.fits")
    assert (header["TELESCOP"], header["PRESET"]) == (record.title, preset)
    data = fits.getdata(tmp_path / "0000_dirty.fits")
    assert np.isfinite(data).any()
    assert (tmp_path / "0000_truth.ecsv").is_file()
    settings, seed = recorded_settings(tmp_path)
    assert seed == 3
    recorded = json.loads((tmp_path / "dataset.json").read_text())["parameters"]
    assert settings.parameters() == recorded
    first, again = (s.observe(s.values) for s in (settings, SimulationSettings(**_plain(recorded))))
    assert first.parameters() == again.parameters()


def _plain(recorded):
    return {k: v for k, v in recorded.items() if not k.endswith("_sha256")}


@pytest.mark.parametrize("record", RECORDS, ids=lambda r: r.name)
def test_records_are_whole(record):
    """The command's options are the record's, and what the record says can be done."""
    known, entries = options_of(getattr(faintsky, f"simulate_{record.name}"))
    assert set(record.options) <= set(known)
    assert all(entries[name][1] for name in known)
    for name in record.arrays:
        array = load_array(name)
        assert len(array.pads) == len(array.itrf) > 2
        assert pdist(array.itrf).max() < 2e5
    freq = SimulationSettings(telescope=record.name).observation.freq
    assert record.band[0] <= freq <= record.band[1]
    size = next(iter(record.arrays.values())).diameter
    radius = cutoff_radius(record.beam, freq, size, 0.5)
    assert float(record.beam(radius, freq, size)) == pytest.approx(0.5)
    assert float(record.beam(0.0, freq, size)) == pytest.approx(1)


def test_another_telescopes_options_are_refused():
    with pytest.raises(InputError, match="LOFAR has no option --pwv"):
        SimulationSettings(telescope="lofar", pwv=1.0)
    with pytest.raises(InputError, match="ALMA has no option --gain-rms"):
        SimulationSettings(telescope="alma", gain_rms=0.1)
    with pytest.raises(InputError, match="there is no option --colour"):
        SimulationSettings(telescope="alma", colour="red")
    with pytest.raises(InputError, match="--noise 'perhaps' is not possible"):
        SimulationSettings(telescope="alma", noise="perhaps")

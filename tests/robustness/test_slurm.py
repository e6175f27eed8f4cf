"""``--cluster slurm`` on a real SLURM cluster that consists of this machine; run by ``make slurm``."""

import os
import shutil
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from astropy.io import fits

from faintsky.catalog import read_catalog

NEEDED = ("munged", "slurmctld", "slurmd", "sbatch")
CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ReturnToService=2
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""

pytestmark = pytest.mark.skipif(
    not os.environ.get("FAINTSKY_SLURM_TESTS"), reason="needs SLURM's daemons: run `make slurm`"
)


def wait_for(ready, seconds, what):
    for _ in range(int(10 * seconds)):
        if ready():
            return
        time.sleep(0.1)
    raise AssertionError(f"{what} did not come up within {seconds} s")


def said(*command):
    return subprocess.run(command, capture_output=True, text=True).stdout


def succeeds(*command):
    return subprocess.run(command, capture_output=True).returncode == 0


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    missing = [name for name in NEEDED if not shutil.which(name)]
    if missing or os.geteuid():
        pytest.skip(f"needs {', '.join(missing) or 'root'}")
    pytest.importorskip("dask_jobqueue")
    folder, host = tmp_path_factory.mktemp("slurm"), socket.gethostname().split(".")[0]
    for name in ("state", "spool"):
        (folder / name).mkdir()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20 - 500
    conf = folder / "slurm.conf"
    conf.write_text(CONF.format(host=host, folder=folder, cpus=os.cpu_count(), memory=memory))
    patch = pytest.MonkeyPatch()
    patch.setenv("SLURM_CONF", str(conf))
    patch.setenv("DASK_JOBQUEUE__SLURM__INTERFACE", "lo")
    patch.setenv("DASK_JOBQUEUE__SLURM__MEMORY", "1GB")
    if not os.path.exists("/etc/munge/munge.key"):
        subprocess.run(["mungekey", "--create"], check=True)
    started = []
    if not succeeds("sh", "-c", "munge -n | unmunge"):
        os.makedirs("/run/munge", exist_ok=True)
        shutil.chown("/run/munge", "munge", "munge")
        subprocess.run(["runuser", "-u", "munge", "--", "munged", "--force"], check=True)
        wait_for(lambda: succeeds("sh", "-c", "munge -n | unmunge"), 20, "munged")
    for name in ("slurmctld", "slurmd"):
        with (folder / f"{name}.out").open("wb") as log:
            started.append(subprocess.Popen([name, "-D", "-f", str(conf)], stdout=log, stderr=log))
    try:
        wait_for(lambda: "idle" in said("sinfo", "-h", "-o", "%T"), 60, "the node")
        yield folder
    finally:
        for process in started:
            process.terminate()
            process.wait(20)
        patch.undo()


def image(path, seed):
    y, x = np.indices((96, 96))
    data = np.random.default_rng(seed).normal(size=(96, 96))
    data += 50 * np.exp(-4 * np.log(2) * ((x - 50) ** 2 + (y - 40) ** 2) / 16)
    header = fits.Header()
    for k, (axis, value, step) in enumerate([("RA---SIN", 150.0, -1), ("DEC--SIN", 2.0, 1)], 1):
        header[f"CTYPE{k}"], header[f"CRVAL{k}"], header[f"CDELT{k}"] = axis, value, step / 3600
        header[f"CRPIX{k}"], header[f"CUNIT{k}"] = 48, "deg"
    header["BMAJ"], header["BMIN"], header["BPA"], header["BUNIT"] = 4 / 3600, 4 / 3600, 0.0, "JY/BEAM"
    fits.writeto(path, (1e-3 * data).astype(np.float32), header)
    return str(path)


def test_files_are_searched_by_jobs_of_the_queue(slurm, tmp_path):
    files = [image(tmp_path / f"f{k}.fits", k) for k in range(4)]
    out = tmp_path / "out"
    program = os.path.join(os.path.dirname(sys.executable), "faintsky")
    command = [program, "detect", *files, "--out", str(out), "--cluster", "slurm", "--jobs", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(read_catalog(out / "catalog.fits")) == 4
    # the queue has had jobs, and has none left
    assert "dask-worker" in (slurm / "slurmctld.log").read_text() or list(tmp_path.glob("slurm-*.out"))
    wait_for(lambda: not said("squeue", "-h"), 30, "an empty queue")

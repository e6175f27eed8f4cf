# `make demo` and `make test` do all the set-up they need.
PYTHON ?= python3
# With `EXTRAS=dev,docs,train,lofar,casa,peers`, tests that need these packages are not skipped
EXTRAS ?= dev,docs,train
# Tests at a time, one thread each; 0: one process with all threads
PROCESSES ?= 2
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo docs test install lint learning wheel oldest fuzz kill slurm benchmarks reproduction clean

demo: install
	$(BIN)/faintsky demo --out demo --overwrite

# Tests of a file, which may share what was made for them, run in one process.
test: install lint
	$(if $(filter 0,$(PROCESSES)),,OMP_NUM_THREADS=1) $(BIN)/python -m pytest -n $(PROCESSES) --dist loadfile

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	touch $@

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Training and results of networks must hold on any processor: two older kinds, as this one can imitate them.
learning: install
	ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 $(BIN)/python -m pytest -m learning
	ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 $(BIN)/python -m pytest -m learning

# The site build/docs/index.html, with all examples run; a warning is an error.
docs: install
	rm -rf docs/api docs/folders docs/gallery build/docs
	$(BIN)/sphinx-build -b html -c docs -W --keep-going -q . build/docs

# Source distribution and wheel, installed outside of the source tree: on each available Python, and with each extra.
wheel:
	PYTHON=$(PYTHON) .ci/wheel

# The oldest versions that pyproject.toml allows; these warn of what newer Pythons will change.
oldest:
	$(PYTHON) tools/oldest.py > .oldest.txt
	test -x .venv-oldest/bin/python || $(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/pip install --quiet --disable-pip-version-check -c .oldest.txt -e '.[train]' \
		'pytest>=8' pytest-xdist hypothesis regions radio-beam
	OMP_NUM_THREADS=1 .venv-oldest/bin/python -m pytest -n 2 --dist loadfile -o filterwarnings=default \
		tests/unit --ignore tests/unit/test_house.py

# Longer than `make test`: random headers by the thousand, and runs killed half-way.
fuzz: install
	FAINTSKY_FUZZ_EXAMPLES=800 $(BIN)/python -m pytest tests/robustness/test_fuzz_headers.py

kill: install
	FAINTSKY_KILL_TESTS=1 $(BIN)/python -m pytest tests/robustness/test_kill.py

# A SLURM cluster of this one machine, from Debian (`apt-get install munge slurmctld slurmd slurm-client`, as root).
slurm: install
	FAINTSKY_SLURM_TESTS=1 $(BIN)/python -m pytest tests/robustness/test_slurm.py

# Speed of the simulators, detection and denoising; images beside PyBDSF and Aegean (the `peers` extra); one page of all. The agreement with CASA needs the `casa` extra, that with WSClean a
# reference: see the scripts.
benchmarks: install
	$(BIN)/python -m benchmarks.speed
	$(BIN)/python -m benchmarks.without_psf
	$(BIN)/python -m benchmarks.survey
	$(BIN)/python -m benchmarks.clouds
	$(BIN)/python -m benchmarks.line_cubes
	$(BIN)/python -m benchmarks.report

# The papers' tables and figures and the README's numbers, from scratch (several hours on two cores). How the
# shipped networks were trained and fitted stands in their cards (`faintsky models NAME`).
reproduction: install
	$(BIN)/python -m reproduction.oracle
	$(BIN)/python -m reproduction.deepfocus
	$(BIN)/python -m reproduction.dda
	$(BIN)/python -m reproduction.denoise_methods
	$(BIN)/python -m reproduction.pages

clean:
	rm -rf .venv .venv-full .venv-oldest .oldest.txt demo build dist *.egg-info src/*.egg-info docs/api docs/folders docs/gallery

# make demo and make test need nothing but Python 3.11 or newer: they build .venv by themselves.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(shell command -v uv 2>/dev/null)
GOLDEN ?= tests/golden
# A file is run by one process, so that fixtures of modules are made once; the order stays, so that no long file is last.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: demo test test-fast check bench gpu chaos golden clean

demo: $(VENV)/user            ## learn to translate letters in at most about two minutes, and leave a report
	$(BIN)/diptych demo -o demo

test: $(VENV)/developer       ## everything that must hold
	$(BIN)/python -m compileall -q diptych    # or each process that a test starts compiles it
	$(PYTEST)

test-fast: $(VENV)/developer  ## what needs no training and no other process, in less than two minutes
	$(PYTEST) -m "not slow"

check: $(VENV)/developer      ## style, types, size of files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@! git ls-files -z | xargs -0 du -k 2>/dev/null | awk '$$1 > 500' | grep . || (echo "files above 500 kB"; exit 1)

bench: $(VENV)/developer      ## measure, and write benchmarks/*.md; images are read from DIPTYCH_DATA
	$(BIN)/python benchmarks/step.py
	$(BIN)/python benchmarks/data.py
	$(BIN)/python benchmarks/tasks.py
	$(BIN)/python benchmarks/ranks.py
	$(BIN)/python benchmarks/scan.py
	$(BIN)/python benchmarks/statistics_of_sets.py

gpu: $(VENV)/developer         ## check and measure on a GPU in at most 8 minutes, and write benchmarks/gpu.md
	$(BIN)/python benchmarks/gpu.py

chaos: $(VENV)/developer      ## harm trainings for a quarter of an hour, and write benchmarks/chaos.md
	$(BIN)/python benchmarks/chaos.py

golden: $(VENV)/developer     ## only the published reference numbers
	$(BIN)/python -m pytest $(GOLDEN)

clean:
	rm -rf $(VENV) demo

$(VENV)/bin/python:
ifdef UV
	$(UV) venv --quiet --python $(PYTHON) $(VENV)
else
	$(PYTHON) -m venv $(VENV)
endif

$(VENV)/user: $(VENV)/bin/python pyproject.toml
ifdef UV
	$(UV) pip install --quiet --compile-bytecode --python $(VENV)/bin/python -e .
else
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
endif
	@touch $@

$(VENV)/developer: $(VENV)/bin/python pyproject.toml
ifdef UV
	$(UV) pip install --quiet --compile-bytecode --python $(VENV)/bin/python -e '.[dev]'
else
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
endif
	@touch $@ $(VENV)/user

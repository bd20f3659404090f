# make quickstart   set up, run the main job on the embedded engines
# make test         set up, pass the tests
# make test-long    those that take minutes: clusters killed, jobs submitted, each step with any workers
# make check        lint, format and types
PYTHON ?= python3
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: quickstart test test-long check clean

quickstart: .venv/run
	$(BIN)/speechmill run configs/quickstart.yaml

test: .venv/dev
	$(PYTEST) -m 'not long'

test-long: .venv/dev
	$(PYTEST) -m long

check: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# torch first and by itself: where an index offers a CPU and a CUDA build, the pin alone decides.
.venv/run: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "speechmill needs Python 3.11 or newer; make PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(INSTALL) torch
	$(INSTALL) --editable '.[espeak]'
	touch $@

.venv/dev: .venv/run
	$(INSTALL) --editable '.[espeak,dev]'
	touch $@

clean:
	rm -rf .venv runs build *.egg-info

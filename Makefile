# make train   sets up .venv, trains ResNet-50 with Lion on the embedded sample
# make test    sets up .venv, runs formatter, linter, types and tests
# make check   formatter, linter and types alone
# make quick   the tests that need no training alone; the goal is 90 seconds
# make lowest  the optimizer's tests with the oldest versions of its libraries
# make package builds, checks and installs the distributions into new environments
# make notebooks  runs the notebooks and keeps their outputs
# make docs    the documentation site in build/site; warnings are errors
# make gpu-check  compiles for GPUs that are not there; 3 GB of CUDA libraries, hours
# make clean   removes .venv, .venv-gpu and what the tests and builds left
#
# .venv is made with the Python that tools/find_python.sh finds: the newest tested one.
# PYTHON=... overrides it; after a change, run make clean first.

PYTHON ?= $(shell sh tools/find_python.sh)
VENV := .venv
GPU_VENV := .venv-gpu
BIN := $(VENV)/bin
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check \
	--constraint constraints.txt
PYTEST = $(BIN)/python -m pytest --numprocesses auto --dist worksteal

.PHONY: train test check format-check lint types quick lowest package notebooks \
	docs gpu-check clean
.DELETE_ON_ERROR:

train: $(VENV)/installed
	$(BIN)/python -m lion_jax.train --config configs/quickstart.py

test: check
	$(PYTEST)

check: format-check lint types

format-check: $(VENV)/installed-test
	$(BIN)/ruff format --check .

lint: $(VENV)/installed-test
	$(BIN)/ruff check .

types: $(VENV)/installed-test
	$(BIN)/pyright --pythonpath $(BIN)/python

quick: $(VENV)/installed-test
	$(PYTEST) --quick

lowest:
	python3.11 tools/lowest.py

package: $(VENV)/installed-test
	$(BIN)/python tools/package_check.py

notebooks: $(VENV)/installed-test
	$(BIN)/python tools/run_notebooks.py

docs: $(VENV)/installed-test
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build

# An environment of its own: with these libraries JAX looks for a GPU everywhere.
gpu-check: $(GPU_VENV)/installed
	JAX_PLATFORMS=cpu $(GPU_VENV)/bin/python benchmarks/gpu_check.py $(ARGS)

clean:
	rm -rf $(VENV) $(GPU_VENV) .pytest_cache .ruff_cache .hypothesis *.egg-info \
		build dist

$(BIN)/python:
	@if [ -z "$(PYTHON)" ]; then \
		echo "No usable Python 3.11 to 3.14 was found; set PYTHON=..." >&2; exit 1; \
	fi
	@"$(PYTHON)" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' \
		|| { echo "PYTHON=$(PYTHON) must be Python 3.11 to 3.14" >&2; exit 1; }
	@echo "making $(VENV) with $(PYTHON) ..."
	"$(PYTHON)" -m venv $(VENV)

$(GPU_VENV)/installed: pyproject.toml constraints.txt
	"$(PYTHON)" -m venv $(GPU_VENV)
	@echo "installing JAX with CUDA libraries into $(GPU_VENV) ..."
	$(GPU_VENV)/bin/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable '.[cuda12,train]'
	@touch $@

$(VENV)/installed: $(BIN)/python pyproject.toml constraints.txt
	@echo "installing into $(VENV) (some minutes the first time) ..."
	$(INSTALL) --editable '.[train]'
	@touch $@

$(VENV)/installed-test: $(VENV)/installed
	@echo "installing the test extra ..."
	$(INSTALL) --editable '.[test]'
	@touch $@

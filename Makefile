# make train   sets up .venv, trains ResNet-50 with Lion on the embedded sample
# make test    sets up .venv, runs formatter, linter, types and tests
# make clean   removes .venv and what the tests left

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check \
	--constraint constraints.txt

.PHONY: train test clean
.DELETE_ON_ERROR:

train: $(VENV)/installed
	$(BIN)/python -m lion_jax.train --config configs/quickstart.py

test: $(VENV)/installed-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis *.egg-info

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' \
		|| { echo "Python 3.11 or newer is needed; set PYTHON=..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(BIN)/python pyproject.toml constraints.txt
	@echo "installing into $(VENV) (some minutes the first time) ..."
	$(INSTALL) --editable .
	@touch $@

$(VENV)/installed-test: $(VENV)/installed
	@echo "installing the test extra ..."
	$(INSTALL) --editable '.[test]'
	@touch $@

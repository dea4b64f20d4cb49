# Each target sets itself up from a fresh clone: Python 3.11+ and make are all that is needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export EDP_HOME ?= $(CURDIR)/.edp
export DAGSTER_HOME := $(EDP_HOME)/dagster
PORT ?= 3000
SEED ?= 0

.PHONY: demo test lint ui bench acceptance report clean

$(VENV)/.installed: setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test]'
	@touch $@

demo: $(VENV)/.installed  ## the synthetic cohort from scans to genes
	$(BIN)/edp demo --seed $(SEED)

test: $(VENV)/.installed lint  ## lint, types, import rules, tests
	$(BIN)/python -m pytest -n 2 --dist loadgroup

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

ui: $(VENV)/.installed  ## the Dagster UI on 127.0.0.1:$(PORT)
	@$(BIN)/python -c 'from edp_assets.storage.home import Home; Home.from_environment().prepare()'
	$(BIN)/dagster dev -w workspace.yaml -h 127.0.0.1 -p $(PORT)

$(VENV)/.bench-installed: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test,bench]'
	@touch $@

bench: $(VENV)/.bench-installed  ## every benchmark against its peer
	$(BIN)/python -m edp_assets_tests.benchmarks

acceptance: $(VENV)/.installed  ## the demo over three seeds against its planted truth (half an hour)
	$(BIN)/python -m edp_assets_tests.planted_truth

report: $(VENV)/.installed
	$(BIN)/edp report

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis

# Each target sets itself up from a fresh clone: Python 3.11 to 3.13 and make are all that is needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export EDP_HOME ?= $(CURDIR)/.edp
export DAGSTER_HOME := $(EDP_HOME)/dagster
PORT ?= 3000
SEED ?= 0

.PHONY: demo test lint ui browser bench acceptance report clean

$(VENV)/.installed: setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14) and "Python 3.11 to 3.13 is needed; set PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test]'
	@touch $@

demo: $(VENV)/.installed  ## the synthetic cohort from scans to genes
	$(BIN)/edp demo --seed $(SEED)

# The report's tests need a browser; where none can be had they skip, with that reason.
BROWSERS := chromium chromium-browser google-chrome

browser:  ## a Chromium of Debian's packages, where there is none and root may install it
	@for name in $(BROWSERS); do command -v $$name >/dev/null && exit 0; done; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
	    chromium fonts-dejavu-core >/dev/null || echo "no browser could be installed: the report's browser tests skip"; \
	else echo "no browser, and no root with apt-get to install one: the report's browser tests skip"; fi

# Two test processes of two threads each would wait for one another: a thread of one holds up the other's.
test: export OMP_NUM_THREADS = 1
test: export OPENBLAS_NUM_THREADS = 1
test: $(VENV)/.installed browser lint  ## lint, types, import rules, tests
	@shared=$$(mktemp -d) && trap 'rm -rf "$$shared"' EXIT && export EDP_TESTS_SHARED="$$shared" && \
	$(BIN)/python -m pytest -n 2 --dist loadfile -m 'not alone' && $(BIN)/python -m pytest -m alone

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

acceptance: $(VENV)/.installed  ## the demo over three seeds against its planted truth (more than an hour)
	$(BIN)/python -m edp_assets_tests.planted_truth

report: $(VENV)/.installed
	$(BIN)/edp report

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis

# Everything runs in .venv, which the first target that needs it makes.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
OUT    ?= out
# one thread of linear algebra: two workers share two cores, and timings repeat
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1
PYTEST := $(ONE_THREAD) $(BIN)/python -m pytest

.PHONY: help demo test test-slow lint fmt bench bench-ntk figures clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

$(READY): pyproject.toml
	@"$(PYTHON)" -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else "stillroom needs Python 3.11 or newer, found %d.%d; try: make PYTHON=python3.11 ..." % v[:2])'
	"$(PYTHON)" -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	@touch $@

demo: $(READY) ## run the experiments at demo size and write the report (about two minutes)
	$(BIN)/stillroom demo --out "$(OUT)"

test: $(READY) ## run all tests but the slow ones
	$(PYTEST) -n auto

test-slow: $(READY) ## nightly: fresh Hypothesis examples, crash tests, the browser, every smoke run twice
	HYPOTHESIS_PROFILE=nightly $(PYTEST) -n auto --runslow

lint: $(READY) ## ruff, mypy, import-linter, codespell
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

fmt: $(READY) ## format, and mend what ruff can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY) ## measure speed, as ratios against named baselines in one run
	$(ONE_THREAD) $(BIN)/python -m tests.speed --out "$(OUT)/bench.json"

bench-ntk: $(READY) ## the empirical kernel beside its peers: torch.func, and neural-tangents in .venv-ntk
	$(BIN)/python -m tests.speed.ntk --out "$(OUT)/bench-ntk.json"

figures: $(READY) ## redraw all figures from stored results
	$(BIN)/stillroom figures --out "$(OUT)"

clean: ## remove the environment and the caches, keep the results
	rm -rf $(VENV) .venv-ntk .pytest_cache .hypothesis .mypy_cache .ruff_cache .import_linter_cache build dist

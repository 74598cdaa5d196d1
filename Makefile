PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PEERS := .venv-transformers
STAMP := $(VENV)/.installed
MAPPERS_PYTHON ?= python3.12
MAPPERS := .venv-mappers

.DEFAULT_GOAL := help
.PHONY: help install explore test test-transformers lint experiments experiments-smoke bench bench-peers durability timelines clean readme

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP) ## create .venv with all that dse and its tests need (again only when a version changes)

$(STAMP): setup.cfg pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; ok = (3, 11) <= sys.version_info[:2] < (3, 14); \
	sys.exit(None if ok else "make: $(PYTHON) is Python %d.%d; 3.11, 3.12 or 3.13 is needed: make PYTHON=python3.13" % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt setuptools wheel
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-build-isolation --editable '.[dev]'
	$(BIN)/python -m compileall -q dse workloads accelerators
	@touch $@

explore: install ## reuse or recompute? DeepSeek-V3 decode over a family of accelerators, front and pictures
	$(BIN)/dse search experiments/mla_reuse_recompute/campaign.yaml --workers 2 --new-if-changed

readme: install ## the tables of `make explore` in README.md and its picture in docs/figures, written anew
	$(BIN)/python -m experiments.mla_reuse_recompute.readme

test: lint ## lint, types, import contracts, tests
	$(BIN)/pytest -n 2 -m 'not benchmark and not long'

test-transformers: $(PEERS)/.installed ## logits and counts against torch and the transformers package, in a venv of their own
	$(PEERS)/bin/pytest -m transformers tests/transformers

$(PEERS)/.installed: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt setuptools wheel
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-build-isolation \
	  --editable '.[dev,transformers]'
	@touch $@

lint: install ## the first three of these only
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

experiments: install ## every figure and table of both papers and beyond, full size; writes pictures and results into experiments/
	$(BIN)/python -m experiments

experiments-smoke: install ## the same at small sizes, only compared with expected values
	$(BIN)/python -m experiments --smoke

bench: install ## how many designs a second
	$(BIN)/pytest -m benchmark -s tests/benchmark

bench-peers: install $(MAPPERS)/.installed ## the same products by zigzag-dse and AccelForge, graphs by stream-dse (MAPPERS_PYTHON: 3.12 or later)
	DSE_PEERS_PYTHON=$(MAPPERS)/bin/python $(BIN)/pytest -m benchmark -s tests/benchmark/test_peers.py tests/benchmark/test_stream.py

$(MAPPERS)/.installed: setup.cfg
	@$(MAPPERS_PYTHON) -c 'import sys; ok = sys.version_info >= (3, 12); \
	sys.exit(None if ok else "make: zigzag-dse, AccelForge and stream-dse need Python 3.12 or later: make bench-peers MAPPERS_PYTHON=python3.13")'
	$(MAPPERS_PYTHON) -m venv $(MAPPERS)
	$(MAPPERS)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[peers]'
	@touch $@

durability: install ## 30 x kill -9 of coordinators and of workers at random moments
	$(BIN)/pytest -m long -s tests/durability

timelines: install ## timelines of every model of the catalogue on every accelerator and chip (about 20 CPU minutes)
	$(BIN)/pytest -m long -n 2 tests/unit/cost/test_catalogue_timelines.py

clean: ## remove all venvs and everything generated, but not runs/
	rm -rf $(VENV) $(PEERS) $(MAPPERS) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find dse workloads accelerators tests experiments docs -name __pycache__ -type d -exec rm -rf {} +

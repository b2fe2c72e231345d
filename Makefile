# make run    the indexer, with an embedded Postgres     make run ARGS="--relay-url wss://…"
# make test   everything, without network, Docker or a database server
.DEFAULT_GOAL := help
SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PYTHON ?= python3
UV := $(shell command -v uv 2>/dev/null)
ARGS ?=
MINUTES ?= 60

.PHONY: help install run test lint demo bench crash fuzz soak clean

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 10

install: $(STAMP)  ## the environment, in .venv (uv if present, else venv and pip)

ifneq ($(UV),)
$(STAMP): pyproject.toml
	@test -x $(BIN)/python || uv venv --quiet --allow-existing --python '>=3.11' $(VENV)
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) uv pip install --quiet --editable . --group dev
	@touch $@
else
$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $(PYTHON) is older than 3.11, or missing"; \
	    echo "  Try: make $(MAKECMDGOALS) PYTHON=python3.13, or install uv (https://docs.astral.sh/uv), which brings its own"; exit 1; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "error: $(PYTHON) cannot make virtual environments"; \
	    echo "  Try: apt install python3-venv, or install uv (https://docs.astral.sh/uv)"; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable . --group dev
	@touch $@
endif

run: $(STAMP)  ## index the network into the embedded Postgres, or DATABASE_URL
	@$(BIN)/firehose-indexer run $(ARGS)

demo: $(STAMP)  ## the same against a simulated network; needs no network
	@$(BIN)/firehose-indexer demo $(ARGS)

test: $(STAMP)  ## every test
	@$(BIN)/python -m pytest $(ARGS)

lint: $(STAMP)  ## style, types, and which room may import which
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

bench: $(STAMP)  ## events per second on this machine
	@$(BIN)/python bench/bench.py $(ARGS)

crash: $(STAMP)  ## kill -9 and a dying Postgres, the whole campaign
	@CAMPAIGN=long $(BIN)/python -m pytest tests/crash $(ARGS)

fuzz: $(STAMP)  ## the parsers, on more random input than in make test
	@$(BIN)/python -m pytest tests/stream tests/repo tests/records/test_conformance.py tests/oracle/test_hostile.py --hypothesis-profile=fuzz --timeout=0 $(ARGS)

soak: $(STAMP)  ## the simulated network with faults, for MINUTES (60); memory must stay level
	@SOAK_MINUTES=$(MINUTES) $(BIN)/python -m pytest tests/crash/test_soak.py $(ARGS)

clean:  ## remove what was built; not the data
	@rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info

# Two commands do all: `make demo` and `make test`. Each creates .venv and installs what it needs; a second call finds it.
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip
STAMP := $(VENV)/.seerkit
DEMO_ARGS ?=
TEST_ARGS ?=
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export NO_MKDOCS_2_WARNING := 1

.DEFAULT_GOAL := help
.PHONY: help demo test lint docs clean gl

help: ## list these targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

demo: $(STAMP)-sim gl ## collect, train and evaluate a small Seer on the Franka twin; DEMO_ARGS="--preset language"
	$(BIN)/seerkit demo $(DEMO_ARGS)

test: $(STAMP)-dev gl ## run the tests; TEST_ARGS="-m 'not slow'"
	$(BIN)/python -m pytest $(TEST_ARGS)

lint: $(STAMP)-dev ## ruff and pyright, as in CI
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

docs: $(STAMP)-docs ## build the documentation into site/
	$(BIN)/mkdocs build --strict

clean: ## remove .venv and everything built (not runs/ and data/)
	rm -rf $(VENV) build dist site *.egg-info .pytest_cache .ruff_cache

# torch goes first, by its exact version, so that nothing installed later can bring another build of it.
$(STAMP): constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "expected Python 3.11 or newer, found $$($(PYTHON) -V); try: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
	  { echo "no venv module; on Debian or Ubuntu: sudo apt-get install python3-venv"; exit 1; }
	$(PIP) install -q -U pip
	$(PIP) install -q -c constraints.txt torch==2.13.0
	$(PIP) install -q -c constraints.txt -e .
	@touch $@

$(STAMP)-sim: $(STAMP)
	$(PIP) install -q -c constraints.txt -e '.[sim]'
	@touch $@

$(STAMP)-dev: $(STAMP)-docs
	$(PIP) install -q -c constraints.txt -e '.[sim,calvin,serve,cluster,dev]'
	@touch $@

$(STAMP)-docs: $(STAMP)
	$(PIP) install -q -c constraints.txt -e '.[docs]'
	@touch $@

# The twin renders without a display through EGL or OSMesa; both come from the system.
gl:
	@ldconfig -p 2>/dev/null | grep -qE 'libEGL\.so|libOSMesa\.so' || \
	  echo "no EGL or OSMesa library found: the twin cannot render; on Debian or Ubuntu: sudo apt-get install libegl1 libosmesa6"

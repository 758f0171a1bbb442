# Targets set up what they need; `make help` lists them.
# On a bare machine only python3.11+, git and make are taken for granted.

PYTHON  ?= $(firstword $(foreach p,python3.11 python3.12 python3.13 python3,$(shell command -v $(p) 2>/dev/null)))
VENV    := .venv
BIN     := $(VENV)/bin
CONFIG  ?= configs/quick.yaml
# Where `make reproduce` takes its text: `package` works offline, `hub` is the write-up's WikiText.
DATA    ?= package
SET     ?=
PYTEST  := $(BIN)/python -m pytest -n auto
# An editable installation warns of folders with a package's name; here they are the package.
PIP     := PYTHONWARNINGS='ignore:Editable installation' $(BIN)/python -m pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help install install-dev run test test-slow wheel-smoke check reproduce results headline bench standings peers clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "No python3 found; install Python 3.11, 3.12 or 3.13, or give PYTHON=/path/to/python"; exit 2; }
	@"$(PYTHON)" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
	  { echo "$(PYTHON) is $$("$(PYTHON)" --version 2>&1); CLSO needs Python 3.11, 3.12 or 3.13: make PYTHON=/path/to/python"; exit 2; }
	@"$(PYTHON)" -m venv $(VENV)
	@# the pip that comes with Python 3.11 takes minutes to resolve these packages, a new one half of one
	@$(PIP) 'pip>=25'

# One stamp per set of packages: a second `make run` or `make test` installs nothing.
$(VENV)/.installed: $(BIN)/python pyproject.toml constraints.txt
	@echo "Installing CLSO into $(VENV) (some minutes, once)"
	@$(PIP) --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@echo "Installing the tools for tests and checks"
	@$(PIP) --constraint constraints.txt --editable '.[test,check]'
	@touch $@

$(VENV)/.installed-slow: $(VENV)/.installed-dev
	@echo "Installing what the slow tests need besides"
	@$(PIP) --constraint constraints.txt --editable '.[test,check,test-slow]'
	@touch $@

$(VENV)/.installed-samplers: $(VENV)/.installed-dev
	@echo "Installing the other samplers"
	@$(PIP) --constraint constraints.txt --editable '.[samplers]'
	@touch $@

$(VENV)/.installed-peers: $(VENV)/.installed
	@echo "Installing the compressors"
	@$(PIP) --constraint constraints.txt --editable '.[peers]'
	@touch $@

install: $(VENV)/.installed  ## set up .venv for running
install-dev: $(VENV)/.installed-dev  ## set up .venv for tests and checks too

run: $(VENV)/.installed  ## data, library, search, baseline, energy and report (CONFIG=configs/quick.yaml)
	@$(BIN)/clso run $(CONFIG) $(SET)

test: $(VENV)/.installed-dev  ## the fast tests and the checks' import rules
	@$(PYTEST) -m 'not slow'

test-slow: $(VENV)/.installed-slow  ## the tests marked slow
	@$(PYTEST) -m slow

wheel-smoke: $(VENV)/.installed-slow  ## install the built wheel in clean environments of Python 3.11 to 3.13, and run smoke
	@$(BIN)/python tests/packaging/wheel_smoke.py

check: $(VENV)/.installed-dev  ## ruff, strict types, import direction
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

reproduce: $(VENV)/.installed  ## the write-up's experiments, one after the other (DATA=hub for its own text)
	@$(BIN)/clso run configs/original_quick.yaml --set data.source=$(DATA) $(SET)
	@$(BIN)/clso run configs/original_full.yaml --set data.source=$(DATA) $(SET)

# One run after the other, then the figure over budgets. docs/results.md says what they gave.
BUDGETS ?= 64000 256000 800000
results: $(VENV)/.installed  ## the comparison at equal budgets and the figure over them (DATA=hub, or SET=... for files)
	@$(BIN)/clso run configs/original_budget.yaml --set data.source=$(DATA) $(SET)
	@for tokens in $(BUDGETS); do \
	  $(BIN)/clso run configs/budgets.yaml --set data.source=$(DATA) $(SET) \
	    --set data.train_tokens=$$tokens --set name=budget-$$tokens || exit 1; \
	done
	@$(BIN)/clso compare $(foreach t,$(BUDGETS),budget-$t) --figure artifacts/budgets.svg

SEEDS   ?= 0 1 2 3 4
# Quick's main result over seeds of text order, weights and search. Each is a run of about the time of `make run`.
headline: $(VENV)/.installed  ## quick with five seeds: means, differences and energy shares with intervals (SEEDS)
	@for seed in $(SEEDS); do \
	  $(BIN)/clso run configs/quick.yaml $(SET) --set seed=$$seed --set name=headline-$$seed || exit 1; \
	done
	@$(BIN)/clso compare $(foreach s,$(SEEDS),headline-$s)

bench: $(VENV)/.installed-dev  ## the speed ratios that docs/method.md quotes
	@$(BIN)/python -m benchmarks

standings: $(VENV)/.installed-samplers  ## the search beside the field's samplers on published problems (SET="--seeds 3")
	@$(BIN)/python -m benchmarks.standings $(SET)

RUN     ?= latest
peers: $(VENV)/.installed-peers  ## bits per byte of compressors beside a run's models (RUN=latest, several are allowed)
	@$(BIN)/python -m benchmarks.peers $(RUN)

clean:  ## remove .venv and caches; artifacts stay
	@rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

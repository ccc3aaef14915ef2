# Newcomer: `make demo` shows it, `make serve` shows it and stays. Everything else is for those who change it.
# `make PYTHON=/path/to/python3.12 ...` picks the Python that .venv is made with.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

ifndef PYTHON
PYTHON := $(firstword $(shell command -v python3.11 || command -v python3.12 || command -v python3) python3)
endif
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
ARGS ?=
TREES := service model export tests docs benchmarks
DOCKERFILES := Dockerfile docker/Dockerfile.gpu
SCRIPTS := .ci/run $(wildcard docker/*.sh)

.PHONY: demo serve test check fix fuzz soak bench bench-analyzers bench-startup clean help \
	check-format check-lint check-types check-imports check-docker check-compose check-scripts check-docs docs docs-demo

demo: $(VENV)/.demo  ## analyse two photographs with the real service, and stop it again
	@$(BIN)/python -m service.demo $(ARGS)

serve: $(VENV)/.demo  ## the same, and the service stays: open its page in a browser
	@$(BIN)/python -m service.demo --keep $(ARGS)

test: $(VENV)/.test  ## every test (ARGS="tests/service -k batcher" picks); adds the other extras to .venv
	@$(BIN)/python -m pytest $(ARGS)

check: check-format check-lint check-types check-imports check-docker check-compose check-scripts check-docs  ## what must hold before a commit

check-format: $(VENV)/.test
	@echo "== ruff format"; $(BIN)/ruff format --check $(TREES)

check-lint: $(VENV)/.test
	@echo "== ruff check"; $(BIN)/ruff check $(TREES)

check-types: $(VENV)/.test
	@echo "== mypy --strict"; $(BIN)/mypy

check-imports: $(VENV)/.test
	@echo "== import contracts"; $(BIN)/lint-imports

check-docker: $(VENV)/.test
	@echo "== hadolint"; $(BIN)/hadolint $(DOCKERFILES) && echo "$(DOCKERFILES): ok"

check-compose: $(VENV)/.test
	@echo "== compose schema"; $(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml

check-scripts: $(VENV)/.test
	@echo "== shellcheck"; $(BIN)/shellcheck $(SCRIPTS) && echo "$(SCRIPTS): ok"

check-docs: $(VENV)/.test
	@echo "== tables in the documents"; $(BIN)/python docs/fill.py --check

docs: $(VENV)/.serving  ## fill the tables in the documents from the code and the pack
	@$(BIN)/python docs/fill.py

docs-demo: $(VENV)/.demo  ## the same, and what the demo prints into the README
	@$(BIN)/python docs/fill.py --demo

fix: $(VENV)/.test  ## format, and mend what the linter can mend
	@$(BIN)/ruff format $(TREES)
	@$(BIN)/ruff check --fix $(TREES)

bench: $(VENV)/.bench  ## throughput, latency and overload beside a raw loop and rivals, into docs/benchmarks.md: hours (ARGS="--part raw")
	@$(BIN)/mien bench --document docs/benchmarks.md $(ARGS)

bench-analyzers: $(VENV)/.test  ## the pack's analyzers against the full SwinFace network, on one thread
	@$(BIN)/python benchmarks/analyzers.py $(ARGS)

bench-startup: $(VENV)/.serving  ## seconds from a process' begin to ready, and what they go into (ARGS="--cold")
	@$(BIN)/python benchmarks/startup.py $(ARGS)

soak: $(VENV)/.test  ## thousands of good, bad and hung-up requests, and what the service holds afterwards
	@$(BIN)/python benchmarks/soak.py $(ARGS)

fuzz: $(VENV)/.fuzz  ## generated requests at the real service, by its own OpenAPI description
	@$(BIN)/python benchmarks/fuzz.py $(ARGS)

clean:  ## remove what building and testing left, .venv too
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-15s %s\n", $$1, $$2}'

# The environment, in three steps, each with a stamp that a change of pyproject.toml outdates. A step takes its stamp away
# before it starts, so that a failed install is tried again.

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		found="$$($(PYTHON) --version 2>&1 | head -n 1 || true)"; \
		echo "mien needs Python 3.11 or newer; $(PYTHON) is '$$found': name another with make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@if ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
		echo "[set-up] making $(VENV) with $$($(PYTHON) --version)"; rm -rf $(VENV); $(PYTHON) -m venv $(VENV); fi
	@touch $@

$(VENV)/.serving: pyproject.toml | $(VENV)/.made
	@rm -f $@
	@echo "[set-up] installing mien and what it serves with (about 15 packages, half a minute)"
	@$(PIP) install --no-warn-conflicts -e .
	@touch $@

# --no-deps: insightface is here for the photograph in it. Its dependencies would bring a second cv2.
$(VENV)/.demo: $(VENV)/.serving
	@rm -f $@
	@echo "[set-up] installing insightface, for its bundled photograph of six faces"
	@$(PIP) install --no-deps 'insightface>=2.1,<3'
	@touch $@

$(VENV)/.test: $(VENV)/.demo
	@rm -f $@
	@echo "[set-up] installing what training and the tests need: PyTorch among it, 5.5 GB in a few minutes"
	@$(PIP) install --no-warn-conflicts -e '.[train,test]'
	@touch $@

$(VENV)/.bench: $(VENV)/.demo
	@rm -f $@
	@echo "[set-up] installing mosec, LitServe, BentoML, Ray Serve and matplotlib"
	@$(PIP) install --no-warn-conflicts -e '.[bench]'
	@touch $@

$(VENV)/.fuzz: $(VENV)/.test
	@rm -f $@
	@echo "[set-up] installing schemathesis"
	@$(PIP) install --no-warn-conflicts -e '.[fuzz]'
	@touch $@

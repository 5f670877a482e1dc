PYTHON ?= python3
BIN := .venv/bin
RUN := runs/countries_s3

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help train sweep validate report bench test test-all test-suites lint format docs docs-serve clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

train: .venv/.installed  ## train on Countries S3 and print the test results beside the baselines
	$(BIN)/ppo-jax train countries_s3 --run-dir $(RUN) --reuse

sweep: .venv/.installed  ## train 16 seeds of Countries S3 in one program and show their statistics
	$(BIN)/ppo-jax sweep countries_s3 --seeds 16 --run-dir runs/sweep_countries_s3

validate: .venv/.installed  ## train and hold the run against the validation plan: PASS or FAIL
	$(BIN)/ppo-jax validate countries_s3

report: .venv/.installed  ## train before, after and recommended on 3 seeds and write runs/before_after/report
	$(BIN)/python scripts/before_after.py

bench: .venv/.installed  ## measure speed in full, other trainers beside it, and write docs/performance.json
	$(BIN)/python benchmarks/benchmark.py

test: .venv/.installed  ## run the test suite without the slow tests
	$(BIN)/pytest -q

test-all: .venv/.installed  ## run every test, the slow learning tests included
	$(BIN)/pytest -q -m "slow or not slow"

test-suites: .venv/.installed-suites  ## install the libraries of the other suites and of ONNX, and test what needs them
	$(BIN)/pytest -q -m suites tests/tasks/suites tests/policies/test_onnx.py

lint: .venv/.installed  ## check formatting, lint, types and the order of imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: .venv/.installed  ## format the code and apply the safe lint fixes
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: .venv/.installed  ## build the site into build/site; a link that leads nowhere is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

docs-serve: .venv/.installed  ## show the site on http://127.0.0.1:8000, built anew when a page changes
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

clean:  ## remove .venv, caches and build outputs; runs are kept
	rm -rf .venv .cache .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist
	find . -path ./runs -prune -o -type d -name __pycache__ -exec rm -rf {} +

.venv/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("ppo_jax needs Python 3.11 or newer: make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	@echo "Installing into .venv (a minute or two)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

.venv/.installed-suites: .venv/.installed
	@echo "Installing the other suites into .venv (some minutes)"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[suites,onnx]'
	@touch $@

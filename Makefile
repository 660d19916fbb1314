# Everything runs from .venv, made from pyproject.toml and the pins in deploy/constraints.txt.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --constraint deploy/constraints.txt
INPUTS := pyproject.toml deploy/constraints.txt

.DEFAULT_GOAL := help
.PHONY: help install serve test lint bench crash image clean

help: ## Show what there is to make
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

install: $(VENV)/installed ## Install what the service needs

serve: $(VENV)/installed ## Start the service on 127.0.0.1:8000 (ARGS="--port 9000")
	$(BIN)/likeness serve $(ARGS)

test: lint ## Run every check
	$(BIN)/python -m pytest

lint: $(VENV)/installed-dev ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/installed-dev ## Measure stages, encoders and the service on this machine
	$(BIN)/python -m tests.bench

crash: $(VENV)/installed-dev ## Kill the server 50 times and look for lost enrolments
	CRASH_ROUNDS=50 $(BIN)/python -m pytest tests/test_crash.py --timeout 1800

image: ## Build the container with docker, or with buildah where there is no docker
	deploy/image.sh

clean: ## Remove what was installed and built
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(VENV)/bin/python $(INPUTS)
	$(PIP) --editable .
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed $(INPUTS)
	$(PIP) --editable '.[dev]'
	@touch $@

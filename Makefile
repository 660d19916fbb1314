# Everything runs from .venv, which holds only files whose hashes are in deploy/locks.
PYTHON ?= $(shell for python in python3.11 python3; do \
    $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
    && echo $$python && break; done)
VENV := .venv
BIN := $(VENV)/bin
SUPPLY := build/supply
INPUTS := pyproject.toml deploy/install.sh $(wildcard deploy/locks/*.txt)
PIP := -m pip --disable-pip-version-check install --quiet
PROJECT := $(BIN)/python $(PIP) --no-deps --no-build-isolation --editable .

.DEFAULT_GOAL := help
.PHONY: help install serve portraits test lint bench bench-peers reliability screenshot image \
    digest lock audit sbom clean

help: ## List all targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 13

install: $(VENV)/installed-dev ## Install the service, all extras, and the tools that check it

serve: $(VENV)/installed ## Start the service on 127.0.0.1:8000 (ARGS="--port 9000")
	$(BIN)/likeness serve $(ARGS)

portraits: $(VENV)/installed ## Fetch public-domain portraits for a first try: build/portraits
	$(BIN)/python deploy/portraits.py build/portraits

test reliability screenshot: export HF_HUB_OFFLINE = 1
# Run two tests at a time: half of the time a test waits for its own process to start.
test: lint ## Run every check
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(VENV)/installed-dev ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/installed-dev ## Measure stages, encoders and the service on this machine
	$(BIN)/python -m tests.tools.bench

bench-peers: $(VENV)/installed-dev ## Measure other servers too: infinity-emb, LitServe, a plain handler
	$(BIN)/python -m tests.tools.bench.peers

# This takes an hour and a half. ARGS="--only storm --scale 0.1" runs a tenth of one part.
reliability: $(VENV)/installed-dev ## Attack, kill, starve, restart and soak the server
	$(BIN)/python -m tests.tools.reliability $(ARGS)

screenshot: $(VENV)/installed-dev ## Take a picture of the pages at /ui: build/ui.png
	$(BIN)/python -m tests.tools.screenshot build/ui.png

image: ## Build the container with docker, or with buildah if there is no docker
	deploy/image.sh

# This needs docker or skopeo, and the network.
digest: ## Write the digest of the newest base image into the Dockerfile
	deploy/base-image.sh

lock: $(SUPPLY)/installed ## Write deploy/locks from pyproject.toml and deploy/constraints.txt
	deploy/lock.sh $(SUPPLY)/bin/python $(SUPPLY)/bin/uv

# The lock of the service has torch under its public name, so torch-cpu.txt is left out.
audit: $(SUPPLY)/installed ## List known vulnerabilities of all locked packages (network)
	@status=0; for lock in $(filter-out %/torch-cpu.txt,$(wildcard deploy/locks/*.txt)); do \
	    echo "$$lock"; \
	    $(SUPPLY)/bin/pip-audit --disable-pip --require-hashes --progress-spinner off --strict \
	        --requirement "$$lock" $(ARGS) || status=1; \
	done; exit $$status

sbom: $(VENV)/installed $(SUPPLY)/installed ## List the packages of `make serve`: build/sbom.json
	$(SUPPLY)/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
	    --output-file build/sbom.json $(BIN)/python

clean: ## Remove everything that was installed or built
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(BIN)/pip:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later is needed: make PYTHON=..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The service needs few packages; the checks add theirs to the same environment.
$(VENV)/installed: $(INPUTS) | $(BIN)/pip
	deploy/install.sh $(BIN)/python
	$(PROJECT)
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	deploy/install.sh $(BIN)/python dev dlib offline otel ray
	$(PROJECT)
	@touch $@

$(SUPPLY)/installed: deploy/locks/supply.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later is needed: make PYTHON=..." >&2; exit 1; }
	$(PYTHON) -m venv --clear $(SUPPLY)
	$(SUPPLY)/bin/python $(PIP) --require-hashes --requirement $<
	@touch $@

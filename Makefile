# Two commands matter: `make demo` and `make test`. Both set everything up first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# The Git and DVC repository that `make demo` and `make up` work in.
WORKSPACE ?= build/demo

# Which build of torch: auto takes the CPU build where no GPU is seen and the package index offers it; cpu, cuda.
TORCH ?= auto

# No library phones home, and nothing is asked of a person in the middle of a run.
export DO_NOT_TRACK := 1
export BENTOML_DO_NOT_TRACK := True
export GX_ANALYTICS_ENABLED := false
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export HF_HUB_DISABLE_TELEMETRY := 1
# Where the deployments of prefect.yaml run.
export ENTITYCLIP_HOME := $(CURDIR)

.PHONY: help setup demo test test-fast check docs debian up down sample lock clean

help: ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

setup: $(VENV)/.ready ## .venv with the locked versions

$(VENV)/.ready: requirements.lock requirements-cpu.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python deploy/install.py --torch $(TORCH)
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

demo: setup ## the main job on the built-in sample, in WORKSPACE (build/demo)
	$(BIN)/entityclip demo --workspace $(WORKSPACE)

up: setup ## Prefect server, worker, schedules and the champion's service, for WORKSPACE (build/demo)
	$(BIN)/entityclip up --workspace $(WORKSPACE)

down: setup ## stop them
	$(BIN)/entityclip down --workspace $(WORKSPACE)

test: setup ## every test, a file for each core at a time
	OMP_NUM_THREADS=1 $(BIN)/pytest -n logical --dist loadfile --no-loadscope-reorder

test-fast: setup ## the tests that are not slow
	OMP_NUM_THREADS=1 $(BIN)/pytest -n logical --dist loadfile --no-loadscope-reorder -m "not slow"

check: setup ## lint, format, types, imports, names, prose
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	MYPYPATH=benchmarks $(BIN)/mypy benchmarks
	$(BIN)/lint-imports
	$(BIN)/python .ci/names.py
	$(BIN)/python .ci/prose.py

docs: setup ## the documentation site, in build/site
	BENTOML_HOME=$(CURDIR)/build/bentoml $(BIN)/python docs/build.py build/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

debian: ## Debian packages that some tests need; as root
	.ci/install-packages

sample: setup ## data.dvc of this repository, made again from the catalogue and the rules
	$(BIN)/python -m flows.workspace.sample

lock: setup ## newest versions that pyproject.toml allows, written to requirements.lock and requirements-cpu.lock
	$(BIN)/uv pip compile --upgrade --universal --python-version 3.11 --all-extras --no-annotate --no-header \
	  --no-emit-index-url --generate-hashes --output-file requirements.lock pyproject.toml
	awk '/^[^ ]/ {keep = !/^(cuda-|nvidia-|torch==|torchvision==|triton==)/ || /^nvidia-ml-py==/} keep' \
	  requirements.lock > requirements-cpu.lock

clean: ## forget the demo's workspace
	rm -rf build/demo

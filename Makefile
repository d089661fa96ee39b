# Every target sets up all it needs, into .venv/ in this folder.
PYTHON ?= python3
KILLS ?= 40
SEED ?= 1
EXECUTOR ?= local
BIN := .venv/bin
BENCH := .venv-bench/bin
INSTALL = $(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt
# File by file in the order of the folders: long proofs come early, many short files at the end.
# Three for two cores, as tests wait for servers and processes a quarter of the time.
PYTEST := $(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder --ignore tests/ui

# Else each process that a test starts would compile the project anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo dev chaos worker-env bench test tests test-ui docs screenshots coverage lint types clean

help:
	@echo "make demo   real data from S3 to verified profiles, in minutes; FANFOLD_EXECUTOR=celery"
	@echo "make dev    the Dagster UI on http://127.0.0.1:3000, with the servers it needs"
	@echo "make test   lint, types and tests: what CI runs"
	@echo "make test-ui  drives the UI with a browser: headless Chromium, as Debian has it"
	@echo "make coverage  the tests, and which lines none of them runs"
	@echo "make chaos  kills workers, runs and servers, and counts what is lost: KILLS=200 SEED=1,"
	@echo "            EXECUTOR=celery its broker too"
	@echo "make worker-env  runs batches in an environment that holds the worker alone"
	@echo "make bench  measures beside scripts and other engines: QUICK=1, PARTS='fold small'"
	@echo "make clean  stop the embedded servers and remove .venv, .venv-bench and .fanfold"

setup: .venv/ready

.venv/ready: pyproject.toml constraints.txt pipelines/dagster_code_location.pth
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Fanfold needs Python 3.11 or newer; say which: make PYTHON=python3.12 ...")'
	@echo "Setting up .venv: a minute, once"
	@$(PYTHON) -m venv .venv
	@$(INSTALL) -e '.[embedded]'
	@# `dagster asset materialize` does not read workspace.yaml; this names the code location for it.
	@cp pipelines/dagster_code_location.pth "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
	@touch $@

# What tests and checks need beside that.
.venv/ready-to-test: .venv/ready
	@$(INSTALL) -e '.[dev]'
	@touch $@

# What an executor needs beside that.
EXECUTOR_EXTRA := $(filter celery k8s,$(FANFOLD_EXECUTOR))

.venv/ready-for-%: .venv/ready
	@$(INSTALL) -e '.[embedded,$*]'
	@touch $@

demo: setup $(EXECUTOR_EXTRA:%=.venv/ready-for-%)
	@$(BIN)/fanfold demo

dev: setup
	$(BIN)/fanfold up
	@echo "The UI: http://127.0.0.1:3000 in some seconds; what runs do shows here too. Ctrl-C stops it."
	@# `dg dev`, which it would advise, is of another package and reads no workspace.yaml.
	@PYTHONWARNINGS='ignore:Function `dev_command` is superseded:FutureWarning' \
		DAGSTER_HOME="$(CURDIR)" $(BIN)/dagster dev --host 127.0.0.1 --port 3000 --log-level warning

chaos: .venv/ready-to-test
	$(BIN)/python -m tests.proofs.chaos --kills $(KILLS) --seed $(SEED) --executor $(EXECUTOR) \
		$(if $(UNIQUE),--unique)

worker-env: .venv/ready-to-test
	$(BIN)/python -m tests.proofs.worker_env

# What is compared with is installed beside the product, not into its environment.
.venv-bench/ready: pyproject.toml benchmarks/constraints.txt
	@echo "Setting up .venv-bench: some minutes, once"
	@$(PYTHON) -m venv .venv-bench
	@$(BENCH)/python -m pip install -qq --disable-pip-version-check -c benchmarks/constraints.txt \
		-e '.[bench]'
	@touch $@

bench: .venv-bench/ready
	$(BENCH)/python -m benchmarks $(if $(QUICK),--scale quick) $(PARTS)

lint: .venv/ready-to-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/ready-to-test
	$(BIN)/mypy

# Types are checked beside the tests, which wait at times.
test: lint
	@$(MAKE) --no-print-directory -j 2 types tests

tests: .venv/ready-to-test
	$(PYTEST)

# The browser is the system's; where nobody may install it, this says so.
.venv/ready-to-look: .venv/ready-to-test
	@$(INSTALL) -e '.[dev,ui]'
	@command -v chromium > /dev/null || { [ "$$(id -u)" = 0 ] && apt-get update -qq \
		&& apt-get install -qq -y --no-install-recommends chromium fonts-dejavu-core > /dev/null; } \
		|| { echo "make test-ui needs Chromium: sudo apt-get install chromium"; exit 1; }
	@touch $@

test-ui: .venv/ready-to-look
	$(BIN)/pytest tests/ui

screenshots: .venv/ready-to-look
	$(BIN)/python -m tests.ui.screenshots

# What documents take from the code.
docs: .venv/ready-to-test
	@$(BIN)/python -m tests.support.generated

coverage: .venv/ready-to-test
	$(PYTEST) --cov --cov-report=term:skip-covered

clean:
	-$(BIN)/fanfold down
	rm -rf .venv .venv-bench .fanfold

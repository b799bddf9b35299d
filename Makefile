# Each target installs what it needs first (tools/prepare); a second run finds it
# there and takes seconds.  `make help` lists the targets and the variables.

VENV ?= .venv
export VENV PYTHON

BIN := $(VENV)/bin
# SWTPM=0 and SWTPM= both mean "no".
WITH_SWTPM := $(filter-out 0 no,$(SWTPM))

.PHONY: help run test test-unit test-process test-system fuzz mutate check format documents bench
.DEFAULT_GOAL := help

help:
	@echo "make run          run the daemon in the foreground; Ctrl-C stops it"
	@echo "                  SWTPM=1 adds a software TPM, CONFIG=FILE, RUNTIME_DIR=DIR"
	@echo "make test         the whole test suite; what needs root skips without it"
	@echo "make test-unit    in one process, under a minute; TESTS='tests/core -k drbg' narrows it"
	@echo "make test-process daemons, a software TPM, compilers and other interpreters; TESTS too"
	@echo "make test-system  the whole machine: root, a container, make run itself; TESTS too"
	@echo "make fuzz         every parser, until Ctrl-C or for FUZZ_SECONDS; keeps a corpus"
	@echo "make mutate       does a test see each small fault? all modules of tests/mutation, or"
	@echo "                  MUTATE='seeding.pool lease'; a sample: MUTATE_SECONDS=180"
	@echo "make check        ruff, mypy and pyright (strict), import-linter"
	@echo "make format       let ruff format the code"
	@echo "make documents    write the keys and options of the code into docs/"
	@echo "make bench        measure speed against the kernel and a bare echo server"
	@echo "everywhere        PYTHON=python3.13 VENV=.venv313 (CPython 3.11 to 3.13)"

run:
	@tools/prepare run $(if $(WITH_SWTPM),swtpm)
	@exec $(BIN)/python tools/run.py $(if $(WITH_SWTPM),--swtpm) \
	  $(if $(CONFIG),--config "$(CONFIG)") $(if $(RUNTIME_DIR),--runtime-dir "$(RUNTIME_DIR)")

# Each suite runs even where one before it failed, so that one run shows all.
test:
	@status=0; \
	for suite in unit process system; do \
	  $(MAKE) --no-print-directory test-$$suite TESTS= || status=$$?; \
	done; \
	exit $$status

test-unit:
	@tools/prepare test
	@$(BIN)/python -m pytest -q -m "not process and not system" -n auto $(TESTS)

test-process:
	@tools/prepare test
	@$(BIN)/python -m pytest -q -m process -n auto $(TESTS)

test-system:
	@tools/prepare test
	@$(BIN)/python -m pytest -q -m system $(or $(TESTS),tests/system)

# Python's parsers by atheris, the C client by libFuzzer; the corpus is in build/fuzz.
fuzz:
	@tools/prepare fuzz
	@$(BIN)/python tests/fuzz/run.py --seconds $(or $(FUZZ_SECONDS),0)

# One fault at a time in the modules of tests/mutation/modules.toml.
mutate:
	@tools/prepare test
	@$(BIN)/python tests/mutation/run.py --seconds $(or $(MUTATE_SECONDS),0) $(MUTATE)

check:
	@tools/prepare check
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python
	PYTHONPATH=core:sources:daemon:client $(BIN)/lint-imports

format:
	@tools/prepare check
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

documents:
	@tools/prepare run
	@$(BIN)/python -m tools.keys
	@$(BIN)/python -m tools.commands

bench:
	@tools/prepare run
	@$(BIN)/python bench/run.py $(BENCH)

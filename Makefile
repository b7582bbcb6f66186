# `make demo` and `make test` set up what they need: with uv where there is one, else in .venv.
# ARGS is handed on: make test ARGS='tests/sql -k claim'. Tests run in two processes; -n 0 is one.

UV := $(shell command -v uv 2>/dev/null)

ifneq ($(UV),)
RUN := $(UV) run
READY :=
else
# Not by make itself: the one of macOS looks for programs in the PATH that it was started with.
RUN := env
READY := .venv/.ok
PYTHON := $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
  $$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
  && echo $$p && break; done)
export PATH := $(CURDIR)/.venv/bin:$(PATH)
endif

.PHONY: demo test lint bench

demo: $(READY)
	$(RUN) pgdurable demo $(ARGS)

test: $(READY)
	$(RUN) python -m pytest -n 2 --dist loadfile $(ARGS)

lint: $(READY)
	$(RUN) ruff check
	$(RUN) ruff format --check
	$(RUN) mypy
	$(RUN) lint-imports --no-logo

# A short form of every benchmark; rewrites the tables in docs/benchmarks.md.
bench: $(READY)
	$(RUN) python -m benchmarks $(ARGS)

.venv/.ok: pyproject.toml
	@test -n "$(PYTHON)" || { \
	  echo "pgdurable needs Python 3.11 or newer with its venv module, or uv, and found neither."; \
	  echo This machine has: $$(python3 --version 2>/dev/null || echo no python3) \
	    $$(python3 -c 'import ensurepip' 2>&1 | grep -q ensurepip && echo without venv); \
	  echo "One of these helps, then run make again:"; \
	  echo "  Debian, Ubuntu   apt-get install python3 python3-venv"; \
	  echo "  macOS            brew install uv      (or: brew install python)"; \
	  echo "  anywhere         pip install uv"; \
	  exit 1; }
	@echo "Installing into .venv; this takes a minute, the first time only ..."
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --editable '.[dev,clients]'
	@touch $@

# Two commands on a fresh machine: `make demo` and `make test`. Both set everything up first.
# Paths are quoted throughout: the folder may hold spaces and Chinese characters.

SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PAPERS := $(VENV)/.papers
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PYTHONWARNINGS := ignore::FutureWarning

.PHONY: demo test dry lint docs site notebook walk clean

demo: $(READY)
	"$(BIN)/python" -m kefu demo

test: $(READY)
	"$(BIN)/python" -m pytest

# The tests that load no model: seconds, for every save of a file.
dry: $(READY)
	"$(BIN)/python" -m pytest -m "not slow"

lint: $(READY)
	"$(BIN)/ruff" check .
	"$(BIN)/ruff" format --check .
	"$(BIN)/mypy"

docs: $(READY)
	"$(BIN)/python" docs/make_commands.py
	"$(BIN)/python" docs/make_remedies.py

# The papers as a site, in site/: a broken link or anchor ends the build.
site: $(PAPERS)
	"$(BIN)/zensical" build --strict --clean

# The notebook from top to bottom, as a reader runs it, on the embedded base: minutes.
notebook: $(PAPERS)
	KEFU_NOTEBOOK=1 "$(BIN)/python" -m pytest tests/test_notebook.py

# The whole studio in a real browser, in both languages and sizes, on a full disk too: minutes.
walk: $(READY)
	KEFU_WALK=1 "$(BIN)/python" -m pytest tests/test_studio_walk.py

$(PAPERS): $(READY)
	"$(BIN)/python" -m pip install --quiet --constraint constraints.txt --editable ".[docs]"
	touch "$(PAPERS)"

# A stamp makes the set-up happen once, and again when the dependencies change.
$(READY): pyproject.toml constraints.txt
	"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11) and "kefu needs Python 3.11 or newer: make PYTHON=python3.12")'
	"$(PYTHON)" -m venv "$(VENV)"
	"$(BIN)/python" -m pip install --quiet --constraint constraints.txt --editable ".[embedded,dev,llama,scale,serve,studio]"
	touch "$(READY)"

clean:
	rm -rf "$(VENV)"

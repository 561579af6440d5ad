# Two commands set up everything on a fresh clone:
#   make demo              synthetic radiographs, training, evaluation, explanation; says where to look; goes on where it was
#                          stopped (DEMO_ARGS=--restart: everything anew)
#   make demo DATA=FOLDER  the same on real images in NIH ChestX-ray14's layout (IMAGES=NAME chooses among its folders)
#   make test              format, lint, types, tests
#   make hospital          installs what the tests marked 'hospital' need, with Debian's apt-get; they are skipped without it
#   make coverage          the tests once more, counting which lines of the library and its programs they run (a third slower)
#   make site              the documentation as a site, in build/site; open build/site/index.html
#   make lowest            the lowest versions that setup.py allows, of all but torch: installed apart, tried (about five minutes)

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Threads that spin for long while they wait make torch many times slower as soon as anything else runs
# (docs/performance.md).
export GOMP_SPINCOUNT ?= 10000
export MLFLOW_DISABLE_TELEMETRY := true
# Two processes of one thread each: most tests wait or compute alone. A file's tests stay together, and so does what they share.
# tests/conftest.py puts the long files first, so that both processes end together.
PYTEST_ARGS ?= -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: help install demo test hospital coverage lint site lowest clean

help:
	@sed -n 's/^#   //p' Makefile

install: $(VENV)/installed

# torch goes first, by its exact version, so that no other package's requirement chooses a larger build of it.
$(VENV)/installed: setup.py constraints.txt
	@echo "Installing into $(VENV): about two minutes and 2.3 GB"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt "$$(grep '^torch==' constraints.txt)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

demo: install
	$(BIN)/python scripts/demo.py $(if $(DATA),--data "$(DATA)") $(if $(IMAGES),--images "$(IMAGES)") $(DEMO_ARGS)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The tables are for the tests of the marker publictables; without a registry those are skipped, saying so.
test: lint
	-$(BIN)/python scripts/fetch_public_tables.py
	$(BIN)/python -m pytest $(PYTEST_ARGS)

hospital:
	scripts/install_hospital.sh

coverage: install
	$(BIN)/python -m pytest $(PYTEST_ARGS) --cov --cov-report=term:skip-covered --cov-report=html:build/coverage

site: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	@echo "Open build/site/index.html"

lowest: install
	$(BIN)/python scripts/lowest.py

clean:
	rm -rf $(VENV) .lowest demo build dist *.egg-info .mypy_cache .ruff_cache

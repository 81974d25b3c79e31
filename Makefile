# What people do. Both `make demo` and `make test` set everything up first, on a machine with Python and make only.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SETUP := $(VENV)/.setup-complete
DEMO_SETUP := $(VENV)/.demo-complete
# One for every core, but not more than memory is likely to hold. The tests of a file stay on one worker, with what they
# share, such as a cluster. Files begin in their order: by the number of their tests, the longest ones would come last.
WORKERS ?= logical
IN_PARALLEL := -n $(WORKERS) --maxprocesses 8 --dist loadfile --no-loadscope-reorder

.PHONY: demo train-smoke test quick coverage lint format docs site setup clean

demo: $(DEMO_SETUP)  ## make a clip, upscale it x4 with the bundled model, compare
	$(BIN)/python examples/demo.py

train-smoke: setup  ## every training stage from scratch in minutes, then a clip upscaled with the result
	rm -rf runs/smoke
	$(BIN)/python examples/train_smoke.py runs/smoke

test: setup lint  ## linters, type check, tests; shows the ten slowest
	$(BIN)/python -m pytest $(IN_PARALLEL)

quick: setup  ## tests without the slow ones
	$(BIN)/python -m pytest $(IN_PARALLEL) -m "not slow"

coverage: setup  ## tests, and which lines they do not reach
	$(BIN)/python -m pytest $(IN_PARALLEL) --cov --cov-report term

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: setup  ## docs/cli.md, from the commands
	$(BIN)/python -m patchvsr.cli.reference docs/cli.md

site: setup  ## the documentation as a site in site/, without a network; ends at a dead link
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

setup: $(SETUP)

# The stamps come last, so an interrupted installation is taken up again. Installing compiles nothing, because most of
# torch and transformers is never imported. What is imported is compiled then, and must be kept.
export PYTHONDONTWRITEBYTECODE :=
INSTALL := $(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check --constraint constraints.txt

$(SETUP): pyproject.toml constraints.txt
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(INSTALL) torch
	$(INSTALL) --editable '.[dev]'
	$(INSTALL) --no-deps cvvdp  # it declares torchvision, ffmpeg and more, and its metric uses none
	touch $(SETUP) $(DEMO_SETUP)

# What the demo needs and nothing of the developers' tools. Of scikit-image it only reads two photos, without scipy.
$(DEMO_SETUP): pyproject.toml constraints.txt
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(INSTALL) torch
	$(INSTALL) --editable .
	$(INSTALL) --no-deps scikit-image
	touch $(DEMO_SETUP)

clean:  ## remove the environment and everything generated, never your videos
	rm -rf $(VENV) site .pytest_cache .mypy_cache .ruff_cache .coverage

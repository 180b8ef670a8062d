# The environment is made where VENV says; every target makes it if it is missing.
VENV ?= .venv
PYTHON ?= python3
BIN = $(VENV)/bin
RUN = $(BIN)/python -m
# Whole files, whose fixtures are then made once, the longest first: tests/conftest.py.
PYTEST = $(RUN) pytest -n 2 --dist=loadfile --no-loadscope-reorder

.PHONY: demo test test-slow lint clean

$(VENV)/train.stamp: setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --disable-pip-version-check -q -e '.[train]'
	touch $@

$(VENV)/test.stamp: $(VENV)/train.stamp
	$(BIN)/pip install --disable-pip-version-check -q -e '.[test]'
	touch $@

# Trains PreResNet20 on handwritten digits, exports it, and asks the export about an image it has not seen.
demo: $(VENV)/train.stamp
	$(RUN) training.train --data=digits --model=PreResNet20 --run_dir=runs/demo --saved_model_dir=saved_models/demo
	$(RUN) training.predict --saved_model=saved_models/demo --data=digits --index=7

lint: $(VENV)/test.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

test: lint
	$(PYTEST) -m "not slow"

# Minutes to an hour, some of it timed: nothing else should run meanwhile.
test-slow: lint
	$(RUN) pytest -m slow -s

clean:
	rm -rf $(VENV) build dist *.egg-info

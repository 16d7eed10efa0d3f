# Two commands on a fresh machine: `make demo` runs the main job, `make test` passes the tests.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# What the test environment gets besides: CI adds the cuda extra, and PyTorch as the oracle.
EXTRAS ?= test
WITH   ?=
# Processes that run tests side by side: one per core, since most tests keep one core busy.
JOBS   ?= auto
# Arguments for pytest, e.g. PYTEST='-m "not slow"'.
PYTEST ?=

.PHONY: demo test fast clean help

demo: $(VENV)/demo.stamp  ## train the digits CNN, compile it to C, classify the held-out digits with the C program
	@mkdir -p build/demo
	$(BIN)/lamina run --dump build/demo/train-ir examples/digits.py --weights build/demo/digits.pth
	$(BIN)/lamina compile examples/digits.py:CNN --weights build/demo/digits.pth \
	    --example 'float32[1,1,28,28]' --main --dump build/demo/model-ir -o build/demo/model
	$(BIN)/lamina run examples/classify_with_c.py --weights build/demo/digits.pth --model build/demo/model

test: $(VENV)/test.stamp  ## the whole test suite
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(PYTEST)

fast: $(VENV)/test.stamp  ## what people run while they work
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m "not slow"

$(VENV)/pip.stamp:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	@touch $@

$(VENV)/demo.stamp: $(VENV)/pip.stamp pyproject.toml
	$(BIN)/python -m pip install --quiet -e ".[examples]"
	@touch $@

$(VENV)/test.stamp: $(VENV)/pip.stamp pyproject.toml
	$(BIN)/python -m pip install --quiet -e ".[$(EXTRAS)]" $(WITH)
	@touch $@

clean:  ## remove build products and the virtual environment
	rm -rf build dist *.egg-info $(VENV)

help:
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

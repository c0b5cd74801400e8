# make bench: set up and run the default suite.  make test: set up and run every check.
# Neither needs root. On ppc64le the torch of the surrounding environment (RocketCE, distribution) is used.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ARCH := $(shell uname -m)
ifeq ($(ARCH),ppc64le)
VENV_FLAGS := --system-site-packages
PIP_FLAGS :=
else
VENV_FLAGS :=
PIP_FLAGS := -c constraints.txt
endif

# The build back end calls its own configuration experimental, once per step: nobody's business here.
PIP := PYTHONWARNINGS=ignore $(BIN)/python -m pip install -qq

.PHONY: bench test lint test-power10 test-power10-kernels bench-kernels clean

# Exit code 2 means that this machine was too disturbed for a valid number; the report says which and why.
bench: $(VENV)/.installed
	$(BIN)/lparbench run || test $$? -eq 2

# Counting the lines that run takes a third more time; .ci/run does it: COVERAGE="--cov --cov-fail-under=90".
COVERAGE ?=
# Two processes share the cores; a second thread in each would only wait for the other process.
test: $(VENV)/.installed-test lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --durations=30 $(COVERAGE)

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run -Werror $(wildcard kernels/*/*.[ch] tests/*/*.c)
	$(BIN)/mypy
	$(BIN)/lint-imports

test-power10: $(VENV)/.installed-test
	$(BIN)/python -m pytest tests/power10 -o addopts= -q -rs

# The kernels alone: right on every Power processor, and their instructions counted. Minutes less than the above.
test-power10-kernels: $(VENV)/.installed-test
	$(BIN)/python -m pytest tests/power10/test_kernel_insns.py -o addopts= -q -rs

bench-kernels: $(VENV)/.installed-test
	$(BIN)/python -m pytest tests/bench -o addopts= -q --benchmark-only

$(VENV)/bin/pip:
	$(PYTHON) -m venv $(VENV_FLAGS) $(VENV)
	$(PIP) --upgrade pip

$(VENV)/.installed: pyproject.toml constraints.txt $(wildcard kernels/*/*.[ch]) | $(VENV)/bin/pip
	$(PIP) $(PIP_FLAGS) -e .
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(PIP) $(PIP_FLAGS) -e '.[test]'
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info

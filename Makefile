# make bench: set up and run the default suite.  make test: set up and run every check.
# Neither needs root. On ppc64le the torch of the surrounding environment (RocketCE, distribution) is used.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ARCH := $(shell uname -m)
ifeq ($(ARCH),ppc64le)
VENV_FLAGS := --system-site-packages
TORCH_READY :=
else
VENV_FLAGS :=
TORCH_READY = $(VENV)/.torch
endif

# x86-64: torch alone comes from PyTorch's index of CPU wheels, because PyPI's torch brings 5.5 GB of CUDA. Wheels that pip's own
# settings have at hand (find-links) go first. TORCH_INDEX=URL: another index; TORCH_INDEX= (empty): pip's own settings only.
ifeq ($(ARCH),x86_64)
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
endif
TORCH := $(shell sed -n 's/^ *"\(torch>=[^"]*\)",$$/\1/p' pyproject.toml)

# The build back end calls its own configuration experimental, once per step: nobody's business here.
PIP := PYTHONWARNINGS=ignore $(BIN)/python -m pip install -qq

.PHONY: bench test suite lint docs test-build lpar-kernel test-lpar test-power10 test-power10-userland test-power10-kernels bench-kernels clean

# Exit code 2 means that this machine was too disturbed for a valid number; the report says which and why.
bench: $(VENV)/.installed
	$(BIN)/lparbench run || test $$? -eq 2

# Counting the lines that run takes a third more time; .ci/run does it: COVERAGE="--cov --cov-fail-under=90".
COVERAGE ?=
# The checks of the source run beside the suite, whose processes wait now and then.
test: $(VENV)/.installed-test
	@$(MAKE) --no-print-directory -j2 lint suite

# Three processes share two cores, for some tests wait; a second thread in each would only wait for the other processes. A file's tests
# stay in one process: what its fixtures build or train is made once.
suite: $(VENV)/.installed-test
	OMP_NUM_THREADS=1 $(BIN)/python tests/in_memory.py $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder --durations=30 $(COVERAGE)

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run -Werror $(wildcard kernels/*/*.[ch] tests/*/*.c)
	@# Python 3.10 has NumPy 2.2 at most, by whose annotations an array of one shape does not fit one of any; NumPy 2.3 mended that.
	if $(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then $(BIN)/mypy; else echo "mypy not run: it takes Python 3.11"; fi
	$(BIN)/lint-imports

# The pages of docs/ as a site in site/index.html, with the references from the code; plain files, no server.
docs: $(VENV)/.installed-test
	$(BIN)/python -m mkdocs build --strict --quiet --site-dir site

# What compilers and pip make: the wheel, the set-up of torch, compiled scorers, the kernels under sanitizers.
test-build: $(VENV)/.installed-test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/builds -o addopts= -q -rs

test-lpar: $(VENV)/.installed-test
	$(BIN)/python -m pytest tests/lpar -o addopts= -q -rs

# The newest kernels for test-lpar, and lparcfg for the one of 64 KiB pages, from Debian's source; kept. test-lpar builds what is missing.
lpar-kernel: $(VENV)/.installed-test
	$(BIN)/python tests/lpar/machine.py

# In parts, for make -j2.
test-power10: test-power10-userland test-power10-kernels

test-power10-userland: $(VENV)/.installed-test
	$(BIN)/python -m pytest tests/power10 --ignore tests/power10/test_kernel_insns.py -o addopts= -q -rs

# The kernels alone: right on every Power processor, and their instructions counted. Minutes less than the above.
test-power10-kernels: $(VENV)/.installed-test
	$(BIN)/python -m pytest tests/power10/test_kernel_insns.py -o addopts= -q -rs

bench-kernels: $(VENV)/.installed-test
	$(BIN)/python -m pytest tests/bench -o addopts= -q --benchmark-only

$(VENV)/bin/pip:
	$(PYTHON) -m venv $(VENV_FLAGS) $(VENV)
	$(PIP) --upgrade pip

$(VENV)/.torch: constraints.txt .ci/install-torch | $(VENV)/bin/pip
	@sh .ci/install-torch $(BIN)/python '$(TORCH)' '$(TORCH_INDEX)' '$(origin TORCH_INDEX)'
	@touch $@

$(VENV)/.installed: pyproject.toml $(wildcard kernels/*/*.[ch]) $(TORCH_READY) | $(VENV)/bin/pip
	$(PIP) -e .
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(PIP) -e '.[test]'
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info

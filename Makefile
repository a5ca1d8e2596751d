# Every target sets up all it needs in .venv: a fresh machine needs Python >= 3.10, a C++20 compiler
# and make. Changed C++ sources are rebuilt before the target runs.

PYTHON ?= python3
# The wheels of torch that pip finds by itself on Linux carry CUDA: gigabytes, and no use to CPU
# kernels. So the build is named. `make test TORCH_BUILD=cu130` takes a CUDA one.
TORCH_BUILD ?= cpu
# More arguments for pytest, as in `make test ARGS="tests/ext -x"`.
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
TORCH := $(shell grep '^torch==' constraints.txt)
CPP := $(shell find csrc tests/cpp -name '*.cpp' -o -name '*.h')
BUILD := pyproject.toml setup.py build_backend/backend.py $(shell find csrc -type f)

# Tools started by tests (cmake, ninja, fairloss) are those of the environment.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow bench lint clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.installed  ## train, evaluate and report on a small data set: runs/demo
	$(BIN)/fairloss demo output=runs/demo

test: $(VENV)/.installed  ## the tests
	$(BIN)/python -m pytest $(ARGS)

test-slow: $(VENV)/.installed  ## the tests that build packages or train for minutes
	$(BIN)/python -m pytest -m slow $(ARGS)

bench: $(VENV)/.rivals  ## every op against its peers and its floor; ARGS=--full for large sizes
	$(BIN)/python -m pytest benchmarks --benchmark-only --benchmark-quiet $(ARGS)

lint: $(VENV)/.linters  ## ruff, mypy and clang-format
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $(CPP)

clean:  ## remove what was built, but neither .venv nor runs
	rm -rf build dist *.egg-info fairloss_ext/_C*.so fairloss_ext/_host*.so fairloss_ext/_build.json
	rm -f $(VENV)/.installed

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.10 or newer is needed: make PYTHON=python3.12" \
	  if sys.version_info < (3, 10) else 0)'
	$(PYTHON) -m venv $(VENV)
	@touch $@

# First what pip itself is set up to find (a folder of wheels, a mirror), then PyTorch's own index.
$(VENV)/.torch: $(VENV)/.created constraints.txt
	$(PIP) install "$(TORCH)+$(TORCH_BUILD)" || \
	  $(PIP) install "$(TORCH)" --index-url https://download.pytorch.org/whl/$(TORCH_BUILD)
	@touch $@

$(VENV)/.installed: $(VENV)/.torch $(BUILD)
	$(PIP) install --constraint constraints.txt --editable ".[test]"
	@touch $@

# The package is installed by now: these add tools alone, and compile nothing again.
$(VENV)/.linters: $(VENV)/.installed pyproject.toml
	$(PIP) install --constraint constraints.txt "fairloss-ext[dev]"
	@touch $@

# A peer that cannot be had is missing from the table, which says so.
$(VENV)/.rivals: $(VENV)/.installed pyproject.toml
	$(PIP) install --constraint constraints.txt "fairloss-ext[bench]" && touch $@ || \
	  echo "The benchmarks run without pytorch-metric-learning."

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
CPP := $(shell find csrc tests/cpp tests/host_run -name '*.cpp' -o -name '*.h' -o -name '*.cu*')
BUILD := pyproject.toml setup.py build_backend/backend.py $(shell find csrc -type f)

# ThreadSanitizer of older compilers fails where addresses are randomised widely; not every container
# lets a process turn that off.
UNSHUFFLED = $(shell setarch -R true 2>/dev/null && echo setarch -R)

# A library of the compiler's, by its name.
in_compiler = $(shell $(CXX) -print-file-name=$(1))

# Tools started by tests (cmake, ninja, fairloss) are those of the environment.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow bench lint sanitize sanitize-memory sanitize-races clean \
  gpu-check cuda-check cuda-build cuda-host-run cuda-schedules cuda-memory cuda-races cuda-mutants

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

sanitize: sanitize-memory sanitize-races  ## the kernels under g++'s sanitizers (10 minutes)

sanitize-memory: SANITIZE := address,undefined
sanitize-memory: RUNTIME := libasan.so
# What Python and torch leave to the end of the process looks leaked: tests/ext/test_memory.py looks
# for leaks in its own way. The C++ tests have to free everything.
sanitize-memory: OPTIONS := ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1

sanitize-races: SANITIZE := thread
sanitize-races: RUNTIME := libtsan.so
# Torch's own threads synchronise in libraries that ThreadSanitizer does not see into; our tasks run
# on threads that it does see (csrc/ops/tensors.h).
sanitize-races: OPTIONS := TSAN_OPTIONS="ignore_noninstrumented_modules=1 halt_on_error=1"

# Builds of their own, beside the ordinary one. Python is not compiled for a sanitizer, so the
# runtime library is loaded first, and libstdc++ with it, where it looks for functions that throw.
# `python -m pytest` would find the ordinary build, in this folder. Under a sanitizer freed memory
# stays resident, which test_memory.py would count.
sanitize-memory sanitize-races: $(VENV)/.builders
	CXX="$(CXX)" SANITIZE=$(SANITIZE) $(BIN)/python setup.py --quiet build \
	  --build-base build/$@ --build-lib build/$@/lib
	CXX="$(CXX)" cmake -S . -B build/$@/cpp -G Ninja \
	  -DFAIRLOSS_BUILD_OPS=OFF -DFAIRLOSS_SANITIZE=$(SANITIZE)
	cmake --build build/$@/cpp
	$(UNSHUFFLED) ctest --test-dir build/$@/cpp --output-on-failure --no-tests=error
	$(UNSHUFFLED) env PYTHONPATH=build/$@/lib OMP_NUM_THREADS=3 $(OPTIONS) \
	  LD_PRELOAD="$(call in_compiler,$(RUNTIME)) $(call in_compiler,libstdc++.so)" \
	  $(BIN)/pytest tests/ext --ignore=tests/ext/test_memory.py --capture=sys $(ARGS)

# Two stages at a time, each printed as a whole.
cuda-check: $(VENV)/.builders  ## compile and execute the CUDA kernels; no GPU needed
	$(MAKE) --jobs=2 --output-sync=target $(CUDA_STAGES)

CUDA_SCHEDULES := $(addprefix cuda-schedule-,forward reverse shuffle greedy)
CUDA_STAGES := cuda-build $(CUDA_SCHEDULES) cuda-memory cuda-races cuda-mutants

# The ops that have a CUDA kernel.
CUDA_OPS := $(notdir $(basename $(wildcard csrc/cuda/*.cu)))
OP_TESTS := $(wildcard $(CUDA_OPS:%=tests/ext/test_%.py))
# Runs tests on the kernels that tests/host_run/build.py compiled for the host.
host_run = env PYTHONPATH=build/host_run/$(1) OMP_NUM_THREADS=1 $(BIN)/pytest --capture=sys $(2) \
  tests/host_run $(ARGS)

cuda-build: $(VENV)/.builders
	$(BIN)/python tests/host_run/resources.py
	FORCE_CUDA=1 $(BIN)/python setup.py --quiet build \
	  --build-base build/cuda --build-lib build/cuda/lib
	PYTHONPATH=build/cuda/lib $(BIN)/pytest tests/packaging/test_cuda_library.py

cuda-host-run: $(VENV)/.builders
	$(BIN)/python tests/host_run/build.py plain memory races

cuda-schedules: $(CUDA_SCHEDULES)

$(CUDA_SCHEDULES): cuda-schedule-%: cuda-host-run
	HOST_RUN_SCHEDULE=$* $(call host_run,plain,$(OP_TESTS) $(if $(filter forward,$*),-m "slow or not slow"))

# Under a sanitizer: what the tests of the host run have that is not `large`.
cuda-memory: cuda-host-run
	ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 HOST_RUN_SCHEDULE=shuffle \
	  LD_PRELOAD="$(call in_compiler,libasan.so) $(call in_compiler,libstdc++.so)" \
	  $(call host_run,memory,-m "not slow and not large")

cuda-races: cuda-host-run
	TSAN_OPTIONS="ignore_noninstrumented_modules=1 halt_on_error=1 atexit_sleep_ms=0" \
	  LD_PRELOAD="$(call in_compiler,libtsan.so) $(call in_compiler,libstdc++.so)" \
	  HOST_RUN_SCHEDULE=shuffle \
	  $(UNSHUFFLED) $(call host_run,races,-m "not slow and not large")

cuda-mutants: cuda-host-run  # ARGS=--all for all of them
	$(BIN)/python tests/host_run/mutants.py $(ARGS)

gpu-check: $(VENV)/.builders $(VENV)/.gpu-rivals  ## all that only a GPU can tell; needs TORCH_BUILD=cu130 or the like
	$(BIN)/python benchmarks/gpu_check.py $(ARGS)

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

# What setup.py needs when pip does not run it.
$(VENV)/.builders: $(VENV)/.linters
	$(PIP) install "pybind11>=3.0" ninja
	@touch $@

# The package is installed by now: these add tools alone, and compile nothing again.
$(VENV)/.linters: $(VENV)/.installed pyproject.toml
	$(PIP) install --constraint constraints.txt "fairloss-ext[dev]"
	@touch $@

# A peer that cannot be had is missing from the table, which says so.
$(VENV)/.rivals: $(VENV)/.installed pyproject.toml
	$(PIP) install --constraint constraints.txt "fairloss-ext[bench]" && touch $@ || \
	  echo "The benchmarks run without pytorch-metric-learning."

# Each by itself: one that cannot be had leaves the others, and the results name it.
$(VENV)/.gpu-rivals: $(VENV)/.rivals
	for peer in liger-kernel cut-cross-entropy; do $(PIP) install $$peer || true; done
	@touch $@

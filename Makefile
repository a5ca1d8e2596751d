# Every target installs what it needs in .venv: a fresh machine needs Python >= 3.10, a C++20 compiler
# and make. Changed C++ sources are rebuilt before the target runs.

PYTHON ?= python3
# By default pip installs torch with CUDA on Linux, which takes gigabytes that CPU kernels do not need.
# So the build is named here; `make test TORCH_BUILD=cu130` installs one with CUDA.
TORCH_BUILD ?= cpu
# More arguments for pytest, as in `make test ARGS="tests/ext -x"`.
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
TORCH := $(shell grep '^torch==' constraints.txt)
CPP := $(shell find csrc tests/cpp tests/host_run -name '*.cpp' -o -name '*.h' -o -name '*.cu*')
BUILD := pyproject.toml setup.py $(shell find build_backend csrc -type f -not -name "*.pyc")

# ThreadSanitizer of older compilers fails with address space layout randomization; not every
# container allows a process to turn it off.
NO_ASLR = $(shell setarch -R true 2>/dev/null && echo setarch -R)

# The path of a library of the compiler.
in_compiler = $(shell $(CXX) -print-file-name=$(1))

# Tests start the tools (cmake, ninja, fairloss) of the environment.
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

bench: $(VENV)/.baselines  ## every op against baselines and its roofline bound; ARGS=--full for large sizes
	$(BIN)/python -m pytest benchmarks --benchmark-only --benchmark-quiet $(ARGS)

lint: $(VENV)/.linters  ## ruff, mypy and clang-format
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $(CPP)

sanitize: sanitize-memory sanitize-races  ## the kernels under g++'s sanitizers (10 minutes)

sanitize-memory: SANITIZE := address,undefined
sanitize-memory: RUNTIME := libasan.so
# Memory that Python and torch free at the end of the process looks leaked; tests/ext/test_memory.py
# finds leaks of the ops. The C++ tests have to free everything.
sanitize-memory: OPTIONS := ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1

sanitize-races: SANITIZE := thread
sanitize-races: RUNTIME := libtsan.so
# torch's threads synchronize in libraries that are not instrumented; the tasks of the ops run on
# threads that are (csrc/ops).
sanitize-races: OPTIONS := TSAN_OPTIONS="ignore_noninstrumented_modules=1 halt_on_error=1"

# Separate builds, beside the ordinary one. Python is not compiled for a sanitizer, so the runtime
# library is preloaded, and libstdc++ with it, in which it looks up the functions that throw.
# `python -m pytest` would import the ordinary build, in this folder. Under a sanitizer freed memory
# stays resident, which test_memory.py would count.
sanitize-memory sanitize-races: $(VENV)/.builders
	CXX="$(CXX)" SANITIZE=$(SANITIZE) $(BIN)/python setup.py --quiet build \
	  --build-base build/$@ --build-lib build/$@/lib
	CXX="$(CXX)" cmake -S . -B build/$@/cpp -G Ninja \
	  -DFAIRLOSS_BUILD_OPS=OFF -DFAIRLOSS_SANITIZE=$(SANITIZE)
	cmake --build build/$@/cpp
	$(NO_ASLR) ctest --test-dir build/$@/cpp --output-on-failure --no-tests=error
	$(NO_ASLR) env PYTHONPATH=build/$@/lib OMP_NUM_THREADS=3 $(OPTIONS) \
	  LD_PRELOAD="$(call in_compiler,$(RUNTIME)) $(call in_compiler,libstdc++.so)" \
	  $(BIN)/pytest tests/ext --ignore=tests/ext/test_memory.py --capture=sys $(ARGS)

# Two stages at a time; the output of each is printed when it ends.
cuda-check: $(VENV)/.builders  ## compile and execute the CUDA kernels; no GPU needed
	$(MAKE) --jobs=2 --output-sync=target $(CUDA_STAGES)

CUDA_SCHEDULES := $(addprefix cuda-schedule-,forward reverse shuffle greedy)
CUDA_STAGES := cuda-build $(CUDA_SCHEDULES) cuda-memory cuda-races cuda-mutants

# The tests of ops that have a CUDA kernel.
OP_TESTS := $(wildcard $(patsubst csrc/cuda/%.cu,tests/ext/test_%*.py,$(wildcard csrc/cuda/*.cu)))
# Run tests on the kernels that tests/host_run/build.py compiled for the host.
host_run = env PYTHONPATH=build/host_run/$(1) OMP_NUM_THREADS=1 $(BIN)/pytest --capture=sys $(2) \
  tests/host_run $(ARGS)

cuda-build: $(VENV)/.builders $(VENV)/.disassembler
	$(BIN)/python tests/host_run/resources.py
	FORCE_CUDA=1 $(BIN)/python setup.py --quiet build \
	  --build-base build/cuda --build-lib build/cuda/lib
	PYTHONPATH=build/cuda/lib $(BIN)/pytest tests/packaging/test_cuda_library.py

cuda-host-run: $(VENV)/.builders
	$(BIN)/python tests/host_run/build.py plain memory races

cuda-schedules: $(CUDA_SCHEDULES)

$(CUDA_SCHEDULES): cuda-schedule-%: cuda-host-run
	HOST_RUN_SCHEDULE=$* $(call host_run,plain,$(OP_TESTS) $(if $(filter forward,$*),-m "slow or not slow"))

# Under a sanitizer: the tests of tests/host_run that are not marked `large`.
cuda-memory: cuda-host-run
	ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 HOST_RUN_SCHEDULE=shuffle \
	  LD_PRELOAD="$(call in_compiler,libasan.so) $(call in_compiler,libstdc++.so)" \
	  $(call host_run,memory,-m "not slow and not large")

cuda-races: cuda-host-run
	TSAN_OPTIONS="ignore_noninstrumented_modules=1 halt_on_error=1 atexit_sleep_ms=0" \
	  LD_PRELOAD="$(call in_compiler,libtsan.so) $(call in_compiler,libstdc++.so)" \
	  HOST_RUN_SCHEDULE=shuffle \
	  $(NO_ASLR) $(call host_run,races,-m "not slow and not large")

cuda-mutants: cuda-host-run  # ARGS=--all for all of them
	$(BIN)/python tests/host_run/mutants.py $(ARGS)

gpu-check: $(VENV)/.builders $(VENV)/.gpu-baselines  ## all checks that need a GPU, and TORCH_BUILD=cu130 or similar
	$(BIN)/python benchmarks/gpu_check.py $(ARGS)

clean:  ## remove build results, but neither .venv nor runs
	rm -rf build dist *.egg-info fairloss_ext/_C*.so fairloss_ext/_host*.so fairloss_ext/_build.json
	rm -f $(VENV)/.installed

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.10 or newer is needed: make PYTHON=python3.12" \
	  if sys.version_info < (3, 10) else 0)'
	$(PYTHON) -m venv $(VENV)
	@touch $@

# First the configured index of pip (a folder of wheels, a mirror), then PyTorch's own.
$(VENV)/.torch: $(VENV)/.created constraints.txt
	$(PIP) install "$(TORCH)+$(TORCH_BUILD)" || \
	  $(PIP) install "$(TORCH)" --index-url https://download.pytorch.org/whl/$(TORCH_BUILD)
	@touch $@

$(VENV)/.installed: $(VENV)/.torch $(BUILD)
	$(PIP) install --constraint constraints.txt --editable ".[test]"
	@touch $@

# Requirements of setup.py when pip does not run it.
$(VENV)/.builders: $(VENV)/.linters
	$(PIP) install "pybind11>=3.0" ninja
	@touch $@

# The package is installed already: this adds tools only, and compiles nothing.
$(VENV)/.linters: $(VENV)/.installed pyproject.toml
	$(PIP) install --constraint constraints.txt "fairloss-ext[dev]"
	@touch $@

# Toolkits in wheels come without it; resources.py says so where it is missing.
$(VENV)/.disassembler: $(VENV)/.builders
	$(PIP) install nvidia-cuda-nvdisasm && touch $@ || true

# A baseline that cannot be installed is missing from the table, which notes it.
$(VENV)/.baselines: $(VENV)/.installed pyproject.toml
	$(PIP) install --constraint constraints.txt "fairloss-ext[bench]" && touch $@ || \
	  echo "The benchmarks run without pytorch-metric-learning."

# Installed one by one: the results name a baseline that is missing.
$(VENV)/.gpu-baselines: $(VENV)/.baselines
	for name in liger-kernel cut-cross-entropy; do $(PIP) install $$name || true; done
	@touch $@

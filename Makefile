# `make demo` and `make test` need Python >= 3.10 with venv, make and a C++20 compiler; everything else is
# fetched from the package index. The other targets are for development.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
PIP_INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check \
  --constraint constraints.txt --build-constraint constraints.txt
# One architecture compiles fast; 75 brings PTX too, which every newer GPU's driver compiles for itself.
export PYIFCN_CUDA_ARCHS ?= 75
# Continuous integration sets it to ON: with another compiler a new warning should stop nobody.
export PYIFCN_WERROR ?= OFF
SOURCES = pyproject.toml constraints.txt CMakeLists.txt cmake/cuda.cmake \
  $(shell find csrc pyifcn -type f -not -name '*.so' -not -path '*__pycache__*')
NATIVE = $(shell git ls-files '*.h' '*.cpp' '*.cu' '*.cuh')

.PHONY: demo test test-compat test-gpu bench lint format dev clean

demo: $(VENV)/models.installed
	$(BIN)/pyifcn demo --output demo

test: $(VENV)/test.installed
	$(BIN)/pytest

# What needs a GPU. The torch that constraints.txt pins is built with CUDA where the index offers that.
test-gpu: $(VENV)/bench.installed
	$(BIN)/pytest -m gpu
	$(BIN)/pytest benchmarks/bench_cuda.py --benchmark-columns=min,median,rounds --benchmark-sort=name

# Beside the libraries that pyifcn.compat stands in for, with the torch that torchvision wants: gigabytes where the
# index has it for CUDA. MMCV=1 builds mmcv too, which can take an hour. detectron2 and AdelaiDet are on no index;
# they are compared where they are installed into COMPAT_VENV by hand.
PEERS = torchvision pycocotools supervision hotcoco faster-coco-eval transformers ensemble-boxes
COMPAT_VENV ?= .venv-compat
COMPAT_PIP = $(COMPAT_VENV)/bin/python -m pip install --quiet --disable-pip-version-check
test-compat: $(COMPAT_VENV)/peers.installed $(SOURCES)
	$(COMPAT_PIP) '.[test]'
	$(COMPAT_VENV)/bin/pytest tests/compat

$(COMPAT_VENV)/peers.installed:
	$(PYTHON) -m venv $(COMPAT_VENV)
	for peer in $(PEERS); do \
	  $(COMPAT_PIP) $$peer || echo "$$peer cannot be installed: its tests are skipped"; done
	if [ -n '$(MMCV)' ]; then \
	  $(COMPAT_PIP) mmdet mmengine 'setuptools<81' wheel ninja && \
	  MMCV_WITH_OPS=1 $(COMPAT_PIP) --no-build-isolation mmcv || \
	  echo "mmcv cannot be built: its tests are skipped"; fi
	touch $@

bench: $(VENV)/bench.installed
	$(BIN)/pytest benchmarks --benchmark-columns=min,median,rounds --benchmark-sort=name

# The package as users get it, with one of its extras.
$(VENV)/%.installed: $(VENV)/pip.installed $(SOURCES)
	$(PIP_INSTALL) '.[$*]' --config-settings=cmake.define.PYIFCN_WERROR='$(PYIFCN_WERROR)' \
	  --config-settings=cmake.define.PYIFCN_CUDA_ARCHS='$(PYIFCN_CUDA_ARCHS)'
	touch $@

$(VENV)/pip.installed:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.3'
	touch $@

$(VENV)/tools.installed: $(VENV)/test.installed
	$(PIP_INSTALL) ruff mypy clang-format cython-lint cmake cython ninja pybind11 scikit-build-core
	touch $@

lint: $(VENV)/tools.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PATH="$(CURDIR)/$(BIN):$$PATH" cython-lint pyifcn
	$(BIN)/clang-format --dry-run --Werror $(NATIVE)

format: $(VENV)/tools.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(NATIVE)

# Compiles into the source tree: after a change, run Python from this folder with nothing to install.
# DEV_PYTHON is an environment with cmake, cython, ninja and pybind11; CMAKE_ARGS adds options.
DEV_PYTHON ?= $(BIN)/python
dev: $(if $(filter $(BIN)/python,$(DEV_PYTHON)),$(VENV)/tools.installed)
	$(DEV_PYTHON) -m cmake -S . -B build/dev -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo -DPYIFCN_WERROR=ON \
	  -Dpybind11_DIR=$$($(DEV_PYTHON) -m pybind11 --cmakedir) \
	  -DPython_EXECUTABLE=$$($(DEV_PYTHON) -c 'import sys; print(sys.executable)') \
	  -DPYIFCN_CUDA_ARCHS='$(PYIFCN_CUDA_ARCHS)' $(CMAKE_ARGS) > /dev/null
	$(DEV_PYTHON) -m cmake --build build/dev
	$(DEV_PYTHON) -m cmake --install build/dev --prefix . --component python > /dev/null

clean:
	rm -rf build dist demo $(VENV) pyifcn/*.so

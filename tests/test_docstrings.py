"""Every example in a docstring runs."""

import doctest
import importlib
import pkgutil

import pytest

import pyifcn

pytest.importorskip("torch", reason="some of the examples need PyTorch")
MODULES = [
    module.name
    for module in pkgutil.walk_packages(pyifcn.__path__, "pyifcn.")
    if module.name.rpartition(".")[2] not in ("__main__", "_cuda", "_gpu")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name, tmp_path, monkeypatch):
    if name.startswith("pyifcn.inference"):
        pytest.importorskip("pyarrow", reason="Parquet needs pyarrow")
    monkeypatch.chdir(tmp_path)
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    assert doctest.testmod(importlib.import_module(name), optionflags=flags).failed == 0

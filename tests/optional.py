"""torch, or where it is not installed what stands for it: a test that touches that is skipped."""

import os
from typing import Any

import pytest


class _Absent:
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if "PYTEST_CURRENT_TEST" in os.environ:
            pytest.skip("PyTorch is not installed")
        return self  # collecting: the parameters of tests

    def __bool__(self) -> bool:
        return False  # there is no GPU either

    __array__ = __call__


try:
    import torch
except ImportError:
    torch = _Absent()

"""Fixtures that several test files use."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import pyifcn

ROOT = Path(__file__).parents[1]

# Programs that tests start find the package under test and the test files; they run in a folder
# other than ROOT, whose sources would come first.
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(Path(pyifcn.__file__).parents[1]), str(Path(__file__).parent)]
)


@pytest.fixture(params=pyifcn.available_targets())
def target(request: pytest.FixtureRequest) -> Iterator[str]:
    """Runs the test once on each instruction set that this machine has."""
    before = pyifcn.current_target()
    pyifcn.use_target(request.param)
    yield request.param
    pyifcn.use_target(before)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def shared_data() -> Path:
    """The folder of real images and results, which is not part of the repository."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("../shared/data is missing: real data is not part of the repository")
    return folder

"""The package as it is installed: its version, and the types that come with it."""

import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

import pyifcn

FOLDER = Path(pyifcn.__file__).parent
SNIPPET = Path(__file__).parent / "typing" / "snippet.py"


def test_version():
    try:
        assert pyifcn.__version__ == version("pyifcn")
    except PackageNotFoundError:
        assert pyifcn.__version__ == "0+unknown"


@pytest.mark.parametrize("name", ["py.typed", "_cpu.pyi", "_cuda.pyi", "_coco.pyi"])
def test_types_are_shipped(name):
    assert (FOLDER / name).is_file()


@pytest.mark.parametrize("module", ["pyifcn.data", "pyifcn.plot"])
def test_modules_name_what_installs_pillow(module, tmp_path):
    code = f"import sys; sys.modules['PIL'] = None; import {module}"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    hint = f'ImportError: {module} needs PIL; install it with: pip install "pyifcn[data]"'
    assert done.stderr.splitlines()[-1] == hint


@pytest.mark.parametrize("module", ["pyifcn.models", "pyifcn.training", "pyifcn.comparison"])
def test_modules_name_what_installs_torch(module, tmp_path):
    code = f"import sys, pyifcn; sys.modules['torch'] = None; import {module}"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    hint = 'ImportError: pyifcn.models needs torch; install it with: pip install "pyifcn[models]"'
    assert done.stderr.splitlines()[-1] == hint


def test_types_of_a_program(tmp_path):
    pytest.importorskip("mypy", reason="mypy is not installed")
    wrong = tmp_path / "wrong.py"
    wrong.write_text("import pyifcn\n\npyifcn.use_target(1)\n")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file=", SNIPPET, wrong],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert "snippet.py" not in done.stdout, done.stdout + done.stderr
    assert 'wrong.py:3: error: Argument 1 to "use_target" has incompatible type' in done.stdout

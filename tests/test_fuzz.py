"""The readers of codes and polygons on a corpus and on random changes of it, under sanitizers.

The same targets run under libFuzzer for as long as one likes, here that of polygons:

    clang++ -std=c++20 -g -O1 -fsanitize=fuzzer,address,undefined -Icsrc tests/fuzz/polygon.cpp \
        csrc/polygons/polygons.cpp csrc/rle/runs.cpp -o fuzz && ./fuzz tests/fuzz/corpus/polygon
"""

import os
import platform
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
COMPILER = os.environ.get("CXX", "c++")
SOURCES = {
    "rle": ["rle/runs.cpp", "rle/packed_runs.cpp"],
    "polygon": ["rle/runs.cpp", "polygons/polygons.cpp"],
}

pytestmark = pytest.mark.skipif(
    platform.system() != "Linux",
    reason="the sanitizers' options are those of GCC and clang on Linux",
)


@pytest.mark.parametrize("target", SOURCES)
def test_fuzz(tmp_path, target):
    program = tmp_path / target
    sources = [ROOT / "csrc" / source for source in SOURCES[target]]
    fuzz = ROOT / "tests" / "fuzz"
    flags = ["-std=c++20", "-O1", "-g1", "-Wall", "-Wextra", f"-I{ROOT / 'csrc'}"]
    sanitize = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    files = [fuzz / f"{target}.cpp", fuzz / "replay.cpp", *sources]
    built = subprocess.run(
        [COMPILER, *flags, *sanitize, *files, "-o", program], capture_output=True, text=True
    )
    assert built.returncode == 0, built.stderr
    done = subprocess.run(
        [program, fuzz / "corpus" / target, "3000"],
        env=os.environ | {"ASAN_OPTIONS": "detect_leaks=0"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[0]) > 50

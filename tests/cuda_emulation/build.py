"""Compiles the CUDA module for the host, under sanitizers."""

import os
import subprocess
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pybind11

HERE = Path(__file__).parent
CSRC = HERE.parents[1] / "csrc"
COMPILER = os.environ.get("CXX", "c++")
# What finds accesses out of bounds and undefined behaviour, and what finds races between threads.
SANITIZERS = {
    "memory": ("-fsanitize=address,undefined", "-fsanitize-sections=cuda_shared"),
    "races": ("-fsanitize=thread",),
}
LIBRARIES = {"memory": "libasan.so", "races": "libtsan.so"}
FLAGS = (
    *("-std=c++20", "-fPIC", "-fvisibility=hidden", "-g1", "-ffp-contract=off"),
    *("-fno-sanitize-recover=all", "-Wall", "-Wextra"),
    *(["-Werror"] if os.environ.get("PYIFCN_WERROR") == "ON" else []),
    *("-Wno-unknown-pragmas", "-Wno-unused-function", "-Wno-clobbered"),
    *("-DPYIFCN_CUDA_EMULATION=1", '-DPYIFCN_CUDA_ARCHS="host"', '-DPYIFCN_CUDA_TOOLKIT="none"'),
    *(f"-I{CSRC}", f"-I{HERE}"),
    *(f"-isystem{path}" for path in (pybind11.get_include(), sysconfig.get_path("include"))),
)


def build(folder: Path, sought: str) -> Path:
    """Compiles and links the module into `folder`."""
    kernels = sorted(CSRC.glob("*/*_cuda.cu"))
    bindings = [CSRC / "module_cuda.cpp", CSRC / "core/bind.cpp", *CSRC.glob("*/*_bind_cuda.cpp")]
    # One translation unit for what includes pybind11, which takes long to read.
    unit = folder / "bindings.cpp"
    unit.write_text("".join(f'#include "{path}"\n' for path in bindings))
    # The kernels are optimised a little, the bindings compile faster without.
    steps = [(unit, "-O0"), *((path, "-O1") for path in kernels)]
    with ThreadPoolExecutor(2) as pool:
        objects = list(pool.map(lambda step: _compile(*step, folder, sought), steps))
    module = folder / f"_cuda{sysconfig.get_config_var('EXT_SUFFIX')}"
    _run(COMPILER, "-shared", *SANITIZERS[sought], *objects, "-o", module)
    return module


def build_planted(folder: Path, sought: str) -> Path:
    """Compiles planted.cu into a program in `folder`."""
    program = folder / "planted"
    source = _compile(HERE / "planted.cu", "-O1", folder, sought)
    _run(COMPILER, *SANITIZERS[sought], source, "-o", program)
    return program


def libraries(sought: str) -> list[Path]:
    """What must be loaded before anything else: the sanitizer, and what it finds `throw` in."""
    names = LIBRARIES[sought], "libstdc++.so"
    found = [_run(COMPILER, f"-print-file-name={name}").strip() for name in names]
    return [Path(path) for path in found]


def _compile(source: Path, optimisation: str, folder: Path, sought: str) -> Path:
    target = folder / f"{source.parent.name}_{source.stem}.o"
    flags = *FLAGS, *SANITIZERS[sought], optimisation
    _run(COMPILER, *flags, "-x", "c++", "-c", source, "-o", target)
    return target


def _run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}\n{done.stderr}")
    return done.stdout

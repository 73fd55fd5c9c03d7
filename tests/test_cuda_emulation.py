"""The CUDA kernels on the host, under sanitizers: the operators' own tests must pass on them.

And the emulation itself: it must see what is planted in `cuda_emulation/planted.cu`.
"""

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip(
    "pybind11", reason="pybind11 is missing, which the emulated module is built with"
)
from cuda_emulation import build, operators

ORDERS = "forward", "reverse", "1", "2"
# At least one test that comes to each barrier.
SOME = (
    "float32 and reference and not (64 or 40 or 33 or grid or thin) or thresholds and 0.95"
    " or any_masks or iou_of_any_number and 17 or many_words and 7"
    " or test_mask_overlap and test_nms and size0-0.3"
    " or cuda-size4 or kinds_are_mixed or strides_and or a_wide_image or count_alike"
)
SOUND = "sound", "sound_atomics", "sound_tickets"
FAULTS_OF_MEMORY = {
    "writes_beyond_the_end": "heap-buffer-overflow",
    "reads_beyond_shared_memory": "global-buffer-overflow",
    "overflows": "signed integer overflow",
    "meets_at_half_a_barrier": "waits at a barrier that others never reach",
    "waits_for_a_block_that_has_not_begun": "waits for one that has not begun",
}
FAULTS_OF_ORDER = (
    "misses_a_barrier",
    "misses_a_barrier_before_the_next_round",
    "misses_a_barrier_of_a_warp",
    "races_of_a_block",
    "races_of_blocks",
)


def libraries(sought):
    paths = build.libraries(sought)
    if not all(path.is_absolute() for path in paths):
        pytest.skip(f"{build.COMPILER} has no {paths[0]}: the sanitizers must be GCC's")
    return " ".join(map(str, paths))


def run(program, kernel, order="1"):
    environment = {"CUDA_EMULATION_ORDER": order, "TSAN_OPTIONS": "halt_on_error=1"}
    return subprocess.run(
        [program, kernel], env={**os.environ, **environment}, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """The program that runs planted.cu, under what finds faults of memory."""
    libraries("memory")
    return build.build_planted(tmp_path_factory.mktemp("planted"), "memory")


@pytest.fixture(scope="module")
def planted_races(tmp_path_factory):
    """The same under what finds races."""
    libraries("races")
    program = build.build_planted(tmp_path_factory.mktemp("planted_races"), "races")
    if "unexpected memory mapping" in run(program, "sound").stderr:
        pytest.skip("ThreadSanitizer cannot run here: addresses are randomised too far")
    return program


def test_operators(tmp_path):
    environment = {
        "LD_PRELOAD": libraries("memory"),
        "PYIFCN_CUDA_EMULATION": str(build.build(tmp_path, "memory")),
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1",  # as Python is used to
    }
    halves = operators.TESTS[::2], (*operators.TESTS[1::2], "test_cuda.py")
    with ThreadPoolExecutor(len(halves)) as pool:
        for done in pool.map(lambda tests: operators.run(*tests, **environment), halves):
            assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]


def test_operators_have_no_races(planted_races, tmp_path):
    done = operators.run(
        *operators.TESTS,
        only=SOME,
        LD_PRELOAD=libraries("races"),
        PYIFCN_CUDA_EMULATION=str(build.build(tmp_path, "races")),
        TSAN_OPTIONS="halt_on_error=1:ignore_noninstrumented_modules=1",
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]


@pytest.mark.parametrize("program", ["planted", "planted_races"])
@pytest.mark.parametrize("kernel", SOUND)
def test_no_order_changes_what_is_sound(request, program, kernel):
    done = [run(request.getfixturevalue(program), kernel, order) for order in ORDERS]
    assert [d.returncode for d in done] == [0] * len(ORDERS), done[0].stderr
    answer = [int(word) for word in done[0].stdout.split()]
    if kernel == "sound":
        sums = [sum(range(64 * block, 64 * block + 64)) for block in range(3)]
        assert answer == [sums[i // 64] + i % 64 // 2 + 32 for i in range(192)]
    elif kernel == "sound_tickets":
        assert answer[:96] == [10 + i // 32 for i in range(96)]
    else:
        assert answer == [191] + [0 if i % 64 == 0 else 64 for i in range(1, 192)]
    assert all(d.stdout == done[0].stdout for d in done)


@pytest.mark.parametrize(("kernel", "message"), FAULTS_OF_MEMORY.items())
def test_faults_of_memory_are_seen(planted, kernel, message):
    done = run(planted, kernel)
    assert done.returncode != 0
    assert message in done.stderr


@pytest.mark.parametrize("kernel", FAULTS_OF_ORDER)
def test_faults_of_order_change_the_answer(planted, kernel):
    assert len({run(planted, kernel, order).stdout for order in ORDERS}) > 1


@pytest.mark.parametrize("kernel", [*FAULTS_OF_ORDER, "adds_without_atomics"])
def test_races_are_seen_in_any_order(planted_races, kernel):
    for order in ("forward", "1"):
        done = run(planted_races, kernel, order)
        assert done.returncode != 0
        assert "data race" in done.stderr


def test_shared_memory_holds_nothing_of_another_block(planted):
    answer = run(planted, "reads_what_nobody_wrote", "forward").stdout.split()
    assert answer == ["1"] * 64 + ["-1"] * 128

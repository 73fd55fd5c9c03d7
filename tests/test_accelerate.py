"""Replacing other libraries' functions, on libraries made for it."""

import subprocess
import sys
import threading
from types import ModuleType

import numpy as np
import pytest

import pyifcn
from pyifcn import _accelerate
from pyifcn.compat._replacement import Replacement


def ours(value, scale=1):
    return ("ours", value, scale)


def ours_method(self, value):
    return ("ours", self.name, value)


def original(value, scale=1):
    """The original's words."""
    return ("theirs", value, scale)


@pytest.fixture
def library(monkeypatch):
    """A library `peer` whose detector holds a name of its operators."""

    class Thing:
        __module__, __qualname__ = "peer.ops", "Thing"
        name = "thing"

        def method(self, value):
            return ("theirs", self.name, value)

    modules = {name: ModuleType(name) for name in ("peer", "peer.ops", "peer.detector", "user")}
    peer, operators, detector, user = modules.values()
    peer.__path__ = []
    peer.ops, peer.detector = operators, detector
    operators.function = original
    operators.Thing = Thing
    detector.alias = operators.function
    user.function = operators.function
    compat = ModuleType("pyifcn.compat.peer")
    compat.REPLACEMENTS = (
        Replacement("peer.ops.function", ours, lambda value, scale=1: value >= 0),
        Replacement("peer.ops.Thing.method", ours_method),
    )
    for module in (*modules.values(), compat):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(_accelerate._LIBRARIES, "peer", "peer")
    yield peer
    pyifcn.restore()


def is_replaced(peer):
    return [
        peer.ops.function(1)[0] == "ours",
        peer.detector.alias(1)[0] == "ours",
        peer.ops.Thing().method(1)[0] == "ours",
    ]


def test_replaces_where_the_library_looks(library):
    accelerated = pyifcn.accelerate("peer")
    assert accelerated.replaced == (
        "peer.ops.function",
        "peer.detector.alias",
        "peer.ops.Thing.method",
    )
    assert accelerated.libraries == ("peer",)
    assert "peer.ops.function" in repr(accelerated)
    assert library.ops.function(2, scale=3) == ("ours", 2, 3)
    assert library.detector.alias(2) == ("ours", 2, 1)
    assert library.ops.Thing().method(2) == ("ours", "thing", 2)
    assert sys.modules["user"].function(2) == ("theirs", 2, 1)
    assert library.ops.function.__doc__ == "The original's words."
    pyifcn.restore("peer")
    assert library.ops.function is library.detector.alias is original
    assert library.ops.Thing().method(2) == ("theirs", "thing", 2)


def test_what_ours_does_not_take_goes_to_the_original(library):
    with pyifcn.accelerate("peer"):
        assert library.ops.function(-1) == ("theirs", -1, 1)
        with pytest.raises(TypeError, match=r"original\(\) missing 1 required"):
            library.ops.function()
        with pytest.raises(TypeError, match=r"original\(\) got an unexpected"):
            library.ops.function(1, width=2)


def test_blocks_nest(library):
    with pyifcn.accelerate("peer") as outer:
        with pyifcn.accelerate("peer") as inner:
            assert inner.replaced == outer.replaced
        assert all(is_replaced(library))
    assert not any(is_replaced(library))
    with pytest.raises(ZeroDivisionError), pyifcn.accelerate("peer"):
        raise ZeroDivisionError
    assert not any(is_replaced(library))


def test_a_block_may_be_entered_again(library):
    accelerated = pyifcn.accelerate("peer")
    for _ in range(2):
        with accelerated:
            assert all(is_replaced(library))
        assert not any(is_replaced(library))


def test_who_kept_a_name_has_the_original_afterwards(library):
    with pyifcn.accelerate("peer"):
        kept = library.ops.function
        assert kept(1)[0] == "ours"
    assert kept(1)[0] == "theirs"


@pytest.mark.parametrize("error", [IndexError, KeyError, AttributeError, TypeError])
def test_what_cannot_be_told_goes_to_the_original(library, error):
    def covers(value, scale=1):
        raise error

    compat = sys.modules["pyifcn.compat.peer"]
    compat.REPLACEMENTS = (Replacement("peer.ops.function", ours, covers),)
    with pyifcn.accelerate("peer"):
        assert library.ops.function(1)[0] == "theirs"


def test_all_but_what_does_not_fit(library, monkeypatch):
    monkeypatch.setattr(_accelerate, "_LIBRARIES", {"peer": "peer", "other": "other"})
    broken = ModuleType("other")
    broken.__path__ = []
    monkeypatch.setitem(sys.modules, "other", broken)
    with pytest.warns(RuntimeWarning, match="other is left as it is: No module named") as caught:
        accelerated = pyifcn.accelerate("all")
    assert caught[0].filename == __file__
    assert accelerated.libraries == ("peer",)
    assert all(is_replaced(library))


@pytest.mark.parametrize("made", ["peer/README", "peer.py"])
def test_a_folder_or_a_file_of_that_name_is_no_library(made, tmp_path, monkeypatch):
    monkeypatch.setattr(_accelerate, "_LIBRARIES", {"peer": "peer"})
    path = tmp_path / made
    path.parent.mkdir(exist_ok=True)
    path.write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    assert pyifcn.accelerate("all").libraries == ()
    with pytest.raises(ImportError, match="peer cannot be accelerated: it is not installed"):
        pyifcn.accelerate("peer")


def test_twice_is_once(library):
    for _ in range(2):
        pyifcn.accelerate("peer")
    with pyifcn.accelerate("peer"):
        assert library.ops.function(1) == ("ours", 1, 1)
        assert library.ops.function.__wrapped__ is original
    assert all(is_replaced(library))  # asked for outside of a block
    pyifcn.restore()
    assert not any(is_replaced(library))
    pyifcn.restore()


def test_restore_inside_a_block(library):
    with pyifcn.accelerate("peer"):
        pyifcn.restore()
        assert not any(is_replaced(library))
        pyifcn.accelerate("peer")
    assert all(is_replaced(library))


def test_modules_loaded_meanwhile_are_restored_too(library, monkeypatch):
    with pyifcn.accelerate("peer"):
        late = ModuleType("peer.late")
        late.function = library.ops.function
        monkeypatch.setitem(sys.modules, "peer.late", late)
    assert late.function is original


def test_what_another_has_replaced_since_is_left_alone(library):
    pyifcn.accelerate("peer")
    library.ops.function = ours
    with pytest.warns(RuntimeWarning, match=r"peer\.ops\.function was replaced again"):
        pyifcn.restore()
    assert library.ops.function is ours
    assert library.detector.alias is original


def test_refuses_what_has_changed_shape(library):
    library.ops.Thing.method = lambda self, value, more: None
    with pytest.raises(
        RuntimeError,
        match=r"peer of unknown version does not fit pyifcn .*: peer\.ops\.Thing\.method takes "
        r"\(self, value, more\), expected \(self, value\)",
    ):
        pyifcn.accelerate("peer")
    assert library.ops.function is original  # nothing is replaced
    del library.ops.Thing
    with pytest.raises(RuntimeError, match=r"there is no peer\.ops\.Thing\.method to replace"):
        pyifcn.accelerate("peer")
    del library.ops.function
    with pytest.raises(RuntimeError, match=r"there is no peer\.ops\.function to replace"):
        pyifcn.accelerate("peer")
    assert not _accelerate._active


def test_bad_names(library, monkeypatch):
    with pytest.raises(ValueError, match=r"'nothing' is no library .*'torchvision'.*'all'"):
        pyifcn.accelerate("nothing")
    with pytest.raises(ValueError, match="'nothing' is no library"):
        pyifcn.restore("nothing")
    with pytest.raises(ValueError, match="no library is named"):
        pyifcn.accelerate()
    monkeypatch.setitem(_accelerate._LIBRARIES, "not_installed_anywhere", "peer")
    with pytest.raises(ImportError, match="not_installed_anywhere"):
        pyifcn.accelerate("peer", "not_installed_anywhere")
    assert not any(is_replaced(library))


def test_all_that_are_installed(library, monkeypatch):
    libraries = {"peer": "peer", "not_installed_anywhere": "peer"}
    monkeypatch.setattr(_accelerate, "_LIBRARIES", libraries)
    with pyifcn.accelerate("all") as accelerated:
        assert accelerated.libraries == ("peer",)
        assert all(is_replaced(library))


def test_threads(library):
    wrong = []

    def work():
        for _ in range(50):
            with pyifcn.accelerate("peer"):
                if library.ops.function(1) != ("ours", 1, 1):
                    wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert library.ops.function is original


def test_pycocotools():
    mask = pytest.importorskip("pycocotools.mask", reason="pycocotools is not installed")
    from pycocotools import coco

    before = mask.encode
    with pyifcn.accelerate("pycocotools") as accelerated:
        assert "pycocotools.mask.frPyObjects" in accelerated.replaced
        assert coco.maskUtils.encode is not before
        code = coco.maskUtils.encode(np.ones((2, 3), np.uint8))  # not in Fortran's order: ours
        assert code == {"size": [2, 3], "counts": b"06"}
    assert mask.encode is before


def test_importing_the_package_imports_no_library(tmp_path):
    program = "import sys, pyifcn; print([m for m in sys.modules if m.startswith('pyifcn.compat')])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.stdout.strip() == "[]", done.stderr

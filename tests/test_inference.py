"""Runs over many images: every image is in the result once, whatever happens on the way."""

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the networks need PyTorch")
pytest.importorskip("pyarrow", reason="Parquet needs pyarrow")
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

from pyifcn import Masks
from pyifcn.data import DataError, ImageError, read_image
from pyifcn.evaluation import read_results
from pyifcn.inference import (
    Finder,
    find,
    plan,
    propose_images,
    read_proposals,
    storage,
    write_coco_results,
)
from pyifcn.inference.local import prefetched
from pyifcn.models import FCIS, FCN, ResidualPyramid, TestSettings, load, save

no_links = pytest.mark.skipif(os.name == "nt", reason="on Windows not everyone may make links")


class Rectangles:
    """Finds as many rectangles as the red of an image's corner says, and counts the images.

    The first is of category 5, the next of 6, and so on.
    """

    device = "cpu"

    def __init__(self, **settings):
        self.settings = settings
        self.seen = []

    def __call__(self, image):
        count = int(image[0, 0, 0]) % 4
        self.seen.append(int(image[0, 0, 0]))
        dense = np.zeros((count, *image.shape[:2]), bool)
        for i in range(count):
            dense[i, i : i + 3, 1:5] = True
        scores = np.linspace(0.9, 0.5, count, dtype=np.float32)
        return Masks.from_dense(dense), scores, np.arange(5, 5 + count)


def tiny(head):
    """A network of random weights that knows the categories 3 and 7."""
    torch.manual_seed(1)
    trunk = ResidualPyramid(widths=(8, 8, 8), blocks=(1, 1, 1), channels=8)
    settings = TestSettings(scales=(1.0,), score_threshold=0.335)
    return head(trunk, {3: "disc", 7: "box"}, width=8, settings=settings).eval()


def write_images(folder, numbers):
    """Image n is grey n, and (8, 10 + n) pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        Image.new("RGB", (10 + number, 8), (number,) * 3).save(folder / f"{number:03}.png")


def numbers(folder):
    """The numbers of the images in the result, checking that what was found in each is right."""
    found = list(read_proposals(folder))
    for result in found:
        number = result.masks.size[1] - 10
        assert result.error is None
        assert result.masks.size == (8, 10 + number)
        masks, scores, labels = Rectangles()(np.full((8, 10 + number, 3), number, np.uint8))
        assert result.masks == masks
        np.testing.assert_array_equal(result.scores, scores)
        np.testing.assert_array_equal(result.labels, labels)
    return [result.masks.size[1] - 10 for result in found]


@pytest.fixture
def here(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(images, finder=None, output="found", **options):
    """Runs with small parts; which images were looked at, and the report."""
    finder = finder or Rectangles()
    report = propose_images(images, output, finder, **{"images_per_part": 4, **options})
    return sorted(finder.seen), report


def test_every_image_is_there_once_with_and_without_instances(here):
    write_images(here / "images", range(11))
    seen, report = run("images")
    assert seen == list(range(11))
    assert report.done.images == 11
    assert report.done.instances == sum(n % 4 for n in range(11))
    assert (report.done.skipped, report.already) == (0, 0)
    assert sorted(numbers("found")) == list(range(11))
    assert len(list((here / "found").iterdir())) == 3


def test_the_files_are_a_table_that_others_read(here):
    write_images(here / "images", [4, 6])
    run("images")
    table = pq.read_table("found")
    assert {field.name: str(field.type) for field in table.schema} == {
        "image": "string",
        "height": "int32",
        "width": "int32",
        "score": "float",
        "category": "int64",
        "box": "fixed_size_list<element: float>[4]",
        "counts": "string",
        "error": "string",
    }
    first, second, third = table.to_pylist()
    assert first == {
        "image": str(Path("images/004.png")),
        "height": 8,
        "width": 14,
        **dict.fromkeys(("score", "category", "box", "counts", "error")),
    }
    assert second["score"] == pytest.approx(0.9)
    assert second["box"] == [1, 0, 4, 3]
    assert (second["category"], third["category"]) == (5, 6)
    assert (
        third["counts"]
        == Masks.from_rle([{"size": [8, 16], "counts": third["counts"]}]).to_rle()[0]["counts"]
    )


def test_a_second_run_does_what_is_missing(here):
    write_images(here / "images", range(10))
    run("images")
    parts = sorted((here / "found").iterdir())
    times = [part.stat().st_mtime_ns for part in parts]
    seen, report = run("images")
    assert (seen, report.already) == ([], 10)
    assert [part.stat().st_mtime_ns for part in parts] == times
    parts[1].unlink()
    seen, report = run("images")
    assert 0 < len(seen) <= 4
    assert report.already == 10 - len(seen)
    assert sorted((here / "found").iterdir()) == parts
    assert sorted(numbers("found")) == list(range(10))


@pytest.mark.parametrize("order", [[3, 5, 9], [9, 5, 3]])
@pytest.mark.parametrize("size", [1, 3, 4, 100])
def test_a_folder_that_has_grown(here, order, size):
    write_images(here / "images", order)
    run("images")
    write_images(here / "images", [0, 4, 12, 13, 14, 15])
    assert run("images", images_per_part=size)[0] == [0, 4, 12, 13, 14, 15]
    write_images(here / "images", [1, 2])
    assert run("images")[0] == [1, 2]
    assert sorted(numbers("found")) == [0, 1, 2, 3, 4, 5, 9, 12, 13, 14, 15]
    assert run("images", images_per_part=size)[0] == []


def test_two_folders_into_one_result(here):
    write_images(here / "a", range(3))
    write_images(here / "b", range(3, 6))
    run("a")
    assert run(["b", "./a"])[0] == [3, 4, 5]
    assert sorted(numbers("found")) == list(range(6))


def test_other_settings_need_another_folder(here):
    write_images(here / "images", range(2))
    run("images", Rectangles(score_threshold=0.5))
    with pytest.raises(DataError, match=r"score_threshold 0\.5, not 0\.25: choose another folder"):
        run("images", Rectangles(score_threshold=0.25))
    names = {str(Path("images", f"{i:03}.png")): i for i in range(2)}
    with pytest.raises(DataError, match="ids text, not integers"):
        run("images", Rectangles(score_threshold=0.5), ids=names)


KILLED = """
import os, signal, sys
from test_inference import Rectangles, propose_images
class Dies(Rectangles):
    def __call__(self, image):
        if len(self.seen) == 9:
            print(*self.seen, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(image)
propose_images("images", "found", Dies(), images_per_part=4)
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_run_that_is_killed_goes_on(here):
    write_images(here / "images", range(14))
    killed = subprocess.run(
        [sys.executable, "-c", KILLED], capture_output=True, text=True, timeout=60
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert killed.stdout.split() == [str(n) for n in range(9)]
    assert sorted(numbers("found")) == list(range(8))
    for name, age in [("old", 2 * 3600), ("new", 60)]:  # the second may be another run's
        half = here / f"found/.part-{name}.tmp"
        half.write_bytes(b"half")
        os.utime(half, (time.time() - age,) * 2)
    assert run("images")[0] == list(range(8, 14))
    assert sorted(numbers("found")) == list(range(14))
    left = [path.name for path in (here / "found").iterdir() if path.name.startswith(".")]
    assert left == [".part-new.tmp"]
    assert len(list((here / "found").iterdir())) == 4 + 1


def test_a_full_disk_leaves_no_part(here, monkeypatch):
    write_images(here / "images", range(6))

    def full(descriptor):
        if descriptor:
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match=r"No space left on device: '.*found/part-\w+-\w+\.parq"):
            run("images")
    assert list((here / "found").iterdir()) == []
    assert run("images")[0] == list(range(6))


def test_images_that_cannot_be_read(here, rng):
    write_images(here / "images", range(10))
    noise = rng.integers(0, 256, (90, 90, 3), np.uint8)
    Image.fromarray(noise).save(here / "images/005.png")
    os.truncate(here / "images/005.png", 9000)
    (here / "images/009.png").write_bytes(b"")
    with pytest.raises(ImageError, match=r"005\.png cannot be decoded"):
        run("images")
    assert sorted(numbers("found")) == [0, 1, 2, 3]
    seen, report = run("images", skip=True)
    assert seen == [4, 6, 7, 8]
    assert (report.done.images, report.done.skipped, report.already) == (6, 2, 4)
    wrong = {found.image: found for found in read_proposals("found") if found.masks is None}
    assert [Path(name).name for name in sorted(wrong)] == ["005.png", "009.png"]
    nine = wrong[str(Path("images/009.png"))]
    assert "009.png is not an image" in nine.error
    assert len(nine.scores) == len(nine.labels) == 0
    assert len(list(read_proposals("found"))) == 10
    assert run("images")[0] == []


def write_table(path, numbers, kind="path", ids=None, **options):
    """A Parquet file whose row i is about image numbers[i]."""
    paths = [f"images/{n:03}.png" for n in numbers]
    columns = {"noise": list(range(len(paths)))}
    if kind == "path":
        columns["path"] = paths
    elif kind == "struct":
        columns["image"] = [{"bytes": Path(p).read_bytes(), "path": p} for p in paths]
    else:
        columns[kind] = [Path(p).read_bytes() for p in paths]
    if ids is not None:
        columns["id"] = ids
    pq.write_table(pa.table(columns), path, **options)


@pytest.mark.parametrize("kind", ["path", "bytes", "image", "struct"])
@pytest.mark.parametrize("group", [1, 3, 100])
def test_parquet_files_of_paths_and_of_images(here, kind, group):
    write_images(here / "images", range(40))
    (here / "tables").mkdir()
    write_table(
        "tables/a.parquet", range(37), kind, [100 + i for i in range(37)], row_group_size=group
    )
    write_table("tables/b.parquet", [37, 38, 39], kind, [3, 2, 1], row_group_size=group)
    assert run("tables")[0] == list(range(40))
    ids = {found.image: found.masks.size[1] - 10 for found in read_proposals("found")}
    assert ids == {100 + i: i for i in range(37)} | {3: 37, 2: 38, 1: 39}
    assert sorted(numbers("found")) == list(range(40))
    assert run("tables")[0] == []
    # Other blocks, of which some rows here and there are done.
    for part in sorted((here / "found").iterdir())[::2]:
        part.unlink()
    run("tables", images_per_part=7)
    assert sorted(numbers("found")) == list(range(40))


def test_paths_are_ids_where_there_are_none(here):
    write_images(here / "images", range(3))
    write_table("images.parquet", range(3))
    run("images.parquet")
    assert sorted(found.image for found in read_proposals("found")) == [
        f"images/{n:03}.png" for n in range(3)
    ]


def test_rows_without_an_image_are_images_that_cannot_be_read(here):
    pq.write_table(pa.table({"id": [1, 2], "path": pa.array([None, "no.png"])}), "a.parquet")
    with pytest.raises(ImageError, match=r"a\.parquet: image 1 is missing"):
        run("a.parquet")
    assert run("a.parquet", skip=True)[1].done.skipped == 2
    errors = [found.error for found in read_proposals("found")]
    assert errors[0].endswith("a.parquet: image 1 is missing")
    assert errors[1].endswith("no.png does not exist")


def test_what_is_no_input(here):
    (here / "empty").mkdir()
    (here / "outer" / "inner").mkdir(parents=True)
    write_images(here / "images", range(3))
    write_table("a.parquet", range(3))
    (here / "text.parquet").write_text("no table")
    pq.write_table(pa.table({"x": [1]}), "neither.parquet")
    pq.write_table(pa.table({"bytes": [b"1"]}), "nameless.parquet")
    pq.write_table(pa.table({"id": [0.5], "path": ["a"]}), "float.parquet")
    pq.write_table(pa.table({"id": [1, None], "path": ["a", "b"]}), "null.parquet")
    write_table("twice.parquet", [0, 1], ids=[7, 7])
    write_table("numbers.parquet", [0, 1], ids=[-1, -2])  # whose hashes are the same
    pq.write_table(pa.table({"id": pa.array([2**63], pa.uint64()), "path": ["a"]}), "large.parquet")
    for images, expected in [
        ("nowhere", "nowhere does not exist"),
        ("empty", "no images in empty$"),
        ("outer", "no images in outer: folders in it are not searched$"),
        ("text.parquet", r"text\.parquet is not a Parquet file"),
        ("neither.parquet", r"neither\.parquet has neither a column 'path' .* but x"),
        ("nameless.parquet", r"nameless\.parquet has no column 'id'"),
        ("float.parquet", r"float\.parquet: id must be text or integers, but is double"),
        ("null.parquet", r"null\.parquet: id is missing in 1 rows"),
        ("twice.parquet", "two images have the id 7"),
        (["a.parquet", "images"], r"two images have the id 'images/000\.png'"),
        (["images", "numbers.parquet"], "some ids are text and others integers"),
        ("large.parquet", "the id 9223372036854775808 does not fit into a signed integer"),
        (["images", "found"], "output must not be one of the inputs, got found"),
        (["a.parquet", str(here / "found")], "output must not be one of the inputs, got found"),
        ("images.nowhere/a.png", "does not exist"),
    ]:
        with pytest.raises(ValueError, match=expected):
            run(images)
    assert run("numbers.parquet")[0] == [0, 1]
    with pytest.raises(ValueError, match="engine must be 'local' or 'ray', got 'dask'"):
        run("images", engine="dask")
    with pytest.raises(ValueError, match="images_per_part must be positive, got 0"):
        run("images", images_per_part=0)
    with pytest.raises(DataError, match="empty holds no proposals"):
        list(read_proposals("empty"))


@pytest.mark.parametrize("other", ["text", 2**63, -(2**63) - 1])
def test_ids_that_no_column_holds_are_refused_before_the_work(here, other):
    write_images(here / "images", range(2))
    finder = Rectangles()
    ids = {str(Path("images/000.png")): 1, str(Path("images/001.png")): other}
    with pytest.raises(DataError, match=r"text and others integers|does not fit into a signed"):
        run("images", finder, ids=ids)
    assert finder.seen == []


@no_links
def test_a_file_is_done_once_however_it_is_given(here):
    write_images(here / "images", range(3))
    write_table("images/a.parquet", [0], ids=["table"])
    (here / "link.png").symlink_to("images/000.png")
    again = [
        "./images/001.png",
        here / "images",
        "images/../images/a.parquet",
        here / "images/a.parquet",
    ]
    assert run(["images", *again, "link.png"])[0] == [0, 0, 0, 1, 2]
    names = {"link.png", "table", *(f"images/{n:03}.png" for n in range(3))}
    assert {found.image for found in read_proposals("found")} == names


@no_links
def test_what_has_an_images_name_is_not_left_out(here):
    write_images(here / "images", range(1))
    (here / "images/folder.png").mkdir()
    (here / "images/link.png").symlink_to("nowhere")
    for number, images in enumerate(["images", (here / "images").as_uri()]):
        with pytest.raises(ImageError, match=r"folder\.png is a folder|link\.png does not exist"):
            run(images, output="refused")
        assert run(images, output=f"found{number}", skip=True)[1].done.skipped == 2
        errors = sorted(found.error or "" for found in read_proposals(f"found{number}"))
        assert errors[0] == ""
        assert errors[1].endswith("folder.png is a folder, not an image file")
        assert errors[2].endswith("link.png does not exist")


def test_hidden_files_are_no_images(here):
    write_images(here / "images", range(2))
    (here / "images/._000.png").write_bytes(b"what macOS keeps beside a file")
    (here / "images/._a.parquet").write_bytes(b"of which it knows more")
    assert run("images")[0] == [0, 1]


@pytest.mark.skipif(sys.platform != "linux", reason="names of other systems are text")
def test_names_that_are_not_utf8(here):
    write_images(here / "images", range(1))
    (here / "images/000.png").rename(os.fsdecode(b"images/\xe9.png"))
    Path(os.fsdecode(b"images/\xe8.png")).write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"\.png is not an image"):
        run("images")
    assert run("images", skip=True)[0] == [0]
    found = {found.image: found.error for found in read_proposals("found")}
    assert found["images/\\udce9.png"] is None
    assert "images/\\udce8.png is not an image" in found["images/\\udce8.png"]
    assert run("images")[0] == []
    assert run(os.fsdecode(b"images/\xe9.png"), output=os.fsdecode(b"\xe7/"))[0] == [0]
    assert len(list(read_proposals(os.fsdecode(b"\xe7/")))) == 1


def encoded(column, layout):
    return column.dictionary_encode() if layout == "dictionary" else column.cast(layout)


@pytest.mark.parametrize("layout", ["dictionary", "large_string", "string_view"])
def test_layouts_of_text(here, layout):
    write_images(here / "images", range(5))
    paths = encoded(pa.array([f"images/{n:03}.png" for n in range(5)]), layout)
    pq.write_table(pa.table({"path": paths}), "a.parquet")
    assert run("a.parquet", images_per_part=2)[0] == list(range(5))
    names = encoded(pa.array([f"name {n}" for n in range(5)]), layout)
    content = pa.array([Path(f"images/{n:03}.png").read_bytes() for n in range(5)])
    content = content if layout == "dictionary" else content.cast(pa.binary_view())
    pq.write_table(pa.table({"id": names, "bytes": content}), "b.parquet")
    assert run("b.parquet", images_per_part=2)[0] == list(range(5))
    assert {found.image for found in read_proposals("found")} >= {"name 0", "images/004.png"}


def test_damaged_tables_are_named(here):
    write_images(here / "images", range(3))
    write_table("a.parquet", range(3), ids=[1, 2, 3])
    metadata = pq.read_metadata("a.parquet").row_group(0)
    columns = {metadata.column(i).path_in_schema: metadata.column(i) for i in range(3)}
    whole = Path("a.parquet").read_bytes()
    for name in ("id", "path"):
        start = columns[name].dictionary_page_offset
        Path("a.parquet").write_bytes(whole[:start] + b"\xee" * 20 + whole[start + 20 :])
        with pytest.raises(OSError, match=r"a\.parquet cannot be read: "):
            run("a.parquet")
    Path("a.parquet").write_bytes(whole)
    run("a.parquet")
    (part,) = (here / "found").iterdir()
    content = part.read_bytes()
    part.write_bytes(content[:4] + b"\xee" * 20 + content[24:])
    with pytest.raises(OSError, match=rf"{part.name} cannot be read: "):
        list(read_proposals("found"))


def test_blocks_of_a_table_are_small_whatever_it_holds(here):
    write_images(here / "images", range(30))
    write_table("a.parquet", range(30), "bytes", list(range(30)))
    (block,) = plan(["a.parquet"], 100)
    assert len(pickle.dumps(block)) < 1000
    assert list(block.ids()) == list(range(30))
    rest = block.without(set(range(0, 30, 2)))
    assert [name for name, _ in rest.images()] == list(range(1, 30, 2))
    assert len(rest) == 15


def test_urls(here):
    write_images(here / "my images", range(9))
    images, found = ((here / name).as_uri() for name in ("my images", "found"))
    assert run(images, output=found)[0] == list(range(9))
    assert sorted(numbers(found)) == list(range(9))
    assert run(images, output=f"{found}/")[0] == []
    assert {f.image for f in read_proposals(found)} == {f"{images}/{n:03}.png" for n in range(9)}
    # An object store whose objects live in this process.
    storage._filesystem("mock://bucket/")[0].create_dir("found")
    run("my images", output="mock://bucket/found")
    assert sorted(numbers("mock://bucket/found/")) == list(range(9))
    assert run("my images", output="mock://bucket/found")[0] == []
    with pytest.raises(ValueError, match="gopher://x/ cannot be opened"):
        run("my images", output="gopher://x/found")
    pq.write_table(pa.table({"path": [f"{images}/000.png", f"{images}/no.png"]}), "urls.parquet")
    with pytest.raises(ImageError, match=r"no\.png does not exist"):
        run("urls.parquet", output="other")


def test_results_as_coco_has_them(here):
    write_images(here / "images", range(6))
    run("images", ids={str(Path("images", f"{n:03}.png")): 50 + n for n in range(6)})
    count = write_coco_results("found", "found.json")
    assert count == sum(n % 4 for n in range(6)) == len(json.loads(Path("found.json").read_text()))
    results = read_results("found.json")
    for found in read_proposals("found"):
        if len(found.masks):
            masks, scores, labels = results.pop(found.image)
            assert masks == found.masks
            np.testing.assert_allclose(scores, found.scores)
            assert labels.tolist() == found.labels.tolist()
    assert not results
    assert write_coco_results("found", "found.json", category_id=3) == count
    assert {r["category_id"] for r in json.loads(Path("found.json").read_text())} == {3}


def test_parts_without_a_column_are_named(here):
    write_images(here / "images", [3])
    run("images")
    (part,) = (here / "found").iterdir()
    pq.write_table(pq.read_table(part).drop(["category"]), part)
    with pytest.raises(DataError, match=rf"{part.name} lacks the column 'category'"):
        list(read_proposals("found"))


def test_reading_ahead_is_bounded_and_in_order():
    lock, begun = threading.Lock(), Counter()

    def read(item):
        with lock:
            begun[item] += 1
        time.sleep(0.001)
        return -item

    taken = 0
    for item, result in prefetched(read, iter(range(50)), threads=3):
        assert (item, result) == (taken, -taken)
        taken += 1
        assert len(begun) <= taken + 2 * 3
    assert taken == 50
    assert set(begun.values()) == {1}

    def fails(item):
        if item == 3:
            raise KeyError(item)
        return item

    results = prefetched(fails, range(10))
    assert [next(results)[1] for _ in range(3)] == [0, 1, 2]
    with pytest.raises(KeyError):
        next(results)


def test_a_finder_travels_with_its_weights(here):
    from pyifcn.data import SyntheticNuclei

    save(load("nuclei"), "mine.safetensors")
    finder = Finder("mine.safetensors", device="cpu", score_threshold=0.3)
    image = SyntheticNuclei(1, size=(64, 80))[0].image
    masks, scores, labels = find(load("nuclei"), image, score_threshold=0.3)
    assert len(masks) > 0
    assert labels.dtype == np.int64
    assert labels.tolist() == [1] * len(masks)
    Path("mine.safetensors").unlink()
    other = pickle.loads(pickle.dumps(finder))
    assert other.settings == finder.settings
    for who in (finder, other):
        found = who(image)
        assert found.masks == masks
        np.testing.assert_array_equal(found.scores, scores)
        np.testing.assert_array_equal(found.labels, labels)
    every = find(load("nuclei"), image, all_proposals=True, max_proposals=5)
    assert list(map(len, every)) == [5, 5, 5]
    assert Finder("nuclei").settings != Finder("nuclei", max_proposals=5).settings
    with pytest.raises(FileNotFoundError, match=r"mine\.safetensors"):
        Finder("mine.safetensors")


@pytest.mark.parametrize("head", [FCN, FCIS])
def test_categories_of_a_network_reach_the_result(here, head):
    from pyifcn.data import SyntheticShapes

    save(tiny(head), "tiny.safetensors")
    (here / "images").mkdir()
    for i, sample in enumerate(SyntheticShapes(2, size=(48, 64))):
        Image.fromarray(sample.image).save(here / f"images/{i}.png")
    finder = Finder("tiny.safetensors", device="cpu", score_threshold=0, max_proposals=50)
    propose_images("images", "found", finder)
    seen = set()
    for found in read_proposals("found"):
        image = read_image(found.image)
        expected = finder.model.predict(image, score_threshold=0)
        assert found.masks == expected.masks[:50].numpy()
        np.testing.assert_array_equal(found.scores, expected.scores[:50].numpy())
        np.testing.assert_array_equal(found.labels, expected.labels[:50].numpy())
        seen |= set(found.labels.tolist())
        asked = find(finder.model, image)
        doubtful = find(finder.model, image, all_proposals=True)
        assert len(asked.labels) == (expected.scores >= 0.335).sum()
        np.testing.assert_array_equal(doubtful.labels, expected.labels.numpy())
    assert seen == {3, 7}
    write_coco_results("found", "found.json")
    assert {r["category_id"] for r in json.loads(Path("found.json").read_text())} == seen


def test_an_error_of_torch_names_the_image(here):
    write_images(here / "images", range(1))

    class Fails(Rectangles):
        def __call__(self, image):
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match=r"000\.png: out of memory"):
        run("images", Fails())


@pytest.mark.parametrize(("module", "extra"), [("pyarrow", "parquet"), ("ray", "ray")])
def test_missing_packages_are_named_with_what_installs_them(here, monkeypatch, module, extra):
    write_images(here / "images", range(1))
    for name in [name for name in sys.modules if name.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    storage._filesystem.cache_clear()

    class Missing:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] == module:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(sys, "meta_path", [Missing(), *sys.meta_path])
    with pytest.raises(ImportError, match=rf'pip install "pyifcn\[{extra}\]"'):
        run("images", engine="ray")

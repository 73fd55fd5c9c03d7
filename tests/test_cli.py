"""The program, run as a user does; the network is a small stand-in except where weights matter."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

pytest.importorskip("torch", reason="the program needs PyTorch")
from PIL import Image

from pyifcn import cli
from pyifcn.data import SyntheticNuclei
from pyifcn.masks import Masks


class Network:
    """Finds two rectangles in every image, whose categories it does not know."""

    categories: ClassVar = {}

    def predict(self, image, *, score_threshold=None):
        dense = np.zeros((2, *image.shape[:2]), bool)
        dense[0, 2:20, 3:30] = dense[1, 8:40, 30:50] = True
        scores = np.array([0.9, 0.4], np.float32)
        kept = scores >= (score_threshold or 0)
        return Masks.from_dense(dense)[kept], scores[kept], np.ones(kept.sum(), np.int64)


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Runs the program in an empty folder: (exit status, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        with pytest.raises(SystemExit) as stopped:
            cli.main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return stopped.value.code or 0, out, err

    return run


@pytest.fixture
def network(monkeypatch):
    monkeypatch.setattr(cli, "_load", lambda weights, device: Network())


def refused(result):
    """The one line that says what is wrong."""
    status, out, err = result
    assert status == 2, (status, out, err)
    assert out == ""
    assert err.startswith("pyifcn: ")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    assert "Traceback" not in err
    return err


def write_images(folder, count=2):
    folder.mkdir(parents=True, exist_ok=True)
    samples = list(SyntheticNuclei(count, size=(48, 64), radius=(5, 8)))
    for i, sample in enumerate(samples):
        Image.fromarray(sample.image).save(folder / f"cell{i}.png")
    return samples


def write_annotations(path, samples):
    images = [
        {
            "id": 10 + i,
            "file_name": f"cell{i}.png",
            "height": 48,
            "width": 64,
            "channels": 1 + 2 * i,
        }
        for i in range(len(samples))
    ]
    annotations = [
        {"image_id": 10 + i, "category_id": 7, "iscrowd": 0, "segmentation": rle}
        for i, sample in enumerate(samples)
        for rle in sample.masks.to_rle()
    ]
    for number, annotation in enumerate(annotations):
        annotation["id"] = number + 1
    categories = [{"id": 7, "name": "nucleus"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    path.write_text(json.dumps(content))


def test_help_names_every_command_and_shows_examples(run):
    for arguments in ([], ["--help"], ["-h"]):
        status, out, err = run(*arguments)
        assert (status, err) == (0, "")
        for command in ("demo", "propose", "train", "evaluate", "compare", "info"):
            assert command in out
    for command in ("demo", "propose", "train", "evaluate"):
        status, out, _ = run(command, "--help")
        assert status == 0
        assert f"\n    pyifcn {command}" in out
    assert run("info", "--help")[0] == 0


def test_version(run):
    import pyifcn

    assert run("--version")[1] == f"pyifcn {pyifcn.__version__}\n"


def test_info(run):
    import torch

    import pyifcn

    status, out, err = run("info")
    assert (status, err) == (0, "")
    assert pyifcn.current_target() in out
    assert torch.__version__ in out
    assert "threads" in out


def test_demo_finds_most_nuclei_and_writes_its_pictures(run, tmp_path):
    status, out, err = run("demo", "--output", "demo", "--seed", 2)
    assert (status, err) == (0, "")
    found, total = map(int, re.match(r"found (\d+) of (\d+) nuclei", out).groups())
    assert found > 0.9 * total
    for stage in ("AR@1000", "score maps", "proposals", "instances"):
        assert stage in out
    assert sorted(path.name for path in (tmp_path / "demo").iterdir()) == [
        "input.png",
        "overlay.png",
        "proposals.json",
        "score_maps.png",
    ]
    records = json.loads((tmp_path / "demo/proposals.json").read_text())
    assert records[0]["image_id"] == "input"
    with Image.open(tmp_path / "demo/overlay.png") as picture:
        assert picture.size == (1024, 768)
    assert "demo" in refused(run("demo", "--output", "demo/input.png"))


def test_propose_writes_coco_results_and_overlays(run, network, tmp_path):
    write_images(tmp_path / "images")
    status, out, err = run("propose", "images", "--output", "found.json", "--overlay", "o/verlays")
    assert (status, err) == (0, "")
    assert out == "4 instances in 2 images: found.json\n"
    records = json.loads((tmp_path / "found.json").read_text())
    assert [record["image_id"] for record in records] == ["cell0", "cell0", "cell1", "cell1"]
    first = records[0]
    assert first["file_name"] == "cell0.png"
    assert first["category_id"] == 1
    assert first["bbox"] == [3, 2, 27, 18]
    assert first["score"] == pytest.approx(0.9)
    assert Masks.from_rle([first["segmentation"]]).to_dense()[0, 2:20, 3:30].all()
    assert sorted(path.name for path in (tmp_path / "o/verlays").iterdir()) == [
        "cell0.png",
        "cell1.png",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["found.json", "images", "o"]


def test_propose_limits(run, network, tmp_path):
    write_images(tmp_path)
    for options in (["--max-proposals", 1], ["--score-threshold", 0.5]):
        assert run("propose", "cell0.png", *options)[0] == 0
        assert len(json.loads((tmp_path / "proposals.json").read_text())) == 1


def test_propose_maps_ids_by_annotations(run, network, tmp_path):
    write_annotations(tmp_path / "truth.json", write_images(tmp_path))
    assert run("propose", "cell1.png", "cell0.png", "--annotations", "truth.json")[0] == 0
    records = json.loads((tmp_path / "proposals.json").read_text())
    assert [record["image_id"] for record in records] == [11, 11, 10, 10]
    assert {record["category_id"] for record in records} == {7}
    (tmp_path / "cell0.png").rename(tmp_path / "other.png")
    error = refused(run("propose", "other.png", "--annotations", "truth.json"))
    assert error == "pyifcn: truth.json has no image other.png\n"


def test_propose_finds_the_annotations_of_images_with_one_name(run, network, tmp_path):
    write_images(tmp_path / "a", 1)
    write_images(tmp_path / "b", 1)
    images = [
        {"id": number, "file_name": name, "height": 48, "width": 64}
        for number, name in enumerate(["b/cell0.png", "sub/a/cell0.png", "c/cell0.png"])
    ]
    content = {"images": images, "annotations": [], "categories": []}
    (tmp_path / "truth.json").write_text(json.dumps(content))
    assert run("propose", "a", "b", "--annotations", "truth.json")[0] == 0
    records = json.loads((tmp_path / "proposals.json").read_text())
    assert [record["image_id"] for record in records] == [1, 1, 0, 0]
    (tmp_path / "a").rename(tmp_path / "d")
    error = refused(run("propose", "d", "--annotations", "truth.json"))
    assert "cell0.png could be b/cell0.png or sub/a/cell0.png or c/cell0.png of truth" in error


@pytest.mark.skipif(os.name == "nt", reason="on Windows not everyone may make links")
def test_propose_writes_over_nothing_that_it_reads(run, network, tmp_path):
    write_annotations(tmp_path / "a.json", write_images(tmp_path / "images", 1))
    (tmp_path / "link.json").symlink_to("a.json")
    (tmp_path / "weights.json").write_bytes(b"some")
    kept = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for options, named in [
        (["--annotations", "a.json", "--output", "a.json"], "a.json"),
        (["--annotations", "a.json", "--output", "link.json"], "link.json"),
        (["--weights", "weights.json", "--output", "weights.json"], "weights.json"),
    ]:
        error = refused(run("propose", "images", *options))
        assert error == f"pyifcn: {named} is an input and would be overwritten\n"
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == kept


@pytest.mark.parametrize("given", ["images", "images/cell0.png"])
def test_propose_refuses_to_write_overlays_among_its_images(run, network, tmp_path, given):
    write_images(tmp_path / "images", 1)
    for folder in ("images", tmp_path / "images/../images"):
        error = refused(run("propose", given, "--overlay", folder))
        assert error == f"pyifcn: --overlay must not be a folder of the inputs, got {folder}\n"
    assert run("propose", given, "--overlay", "images/overlays")[0] == 0


def test_propose_refuses_to_write_parts_among_its_images(run, network, tmp_path):
    pytest.importorskip("pyarrow", reason="Parquet needs pyarrow")
    write_images(tmp_path / "images", 1)
    error = refused(run("propose", "images", "--output", tmp_path / "images"))
    assert f"output must not be one of the inputs, got {tmp_path / 'images'}" in error
    assert len(list((tmp_path / "images").iterdir())) == 1


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such files")
def test_propose_replaces_files_alone(run, network, tmp_path):
    write_images(tmp_path / "images", 1)
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "null.json").symlink_to("/dev/null")
    for special in ("pipe.json", "null.json"):
        error = refused(run("propose", "images", "--output", special))
        assert error == f"pyifcn: {special} exists and is not a regular file\n"
    (tmp_path / "other").mkdir()
    (tmp_path / "link.json").symlink_to("other/found.json")
    for _ in range(2):
        assert run("propose", "images", "--output", "link.json")[0] == 0
        assert (tmp_path / "link.json").is_symlink()
        assert [path.name for path in (tmp_path / "other").iterdir()] == ["found.json"]
        assert len(json.loads((tmp_path / "other/found.json").read_text())) == 2


def test_propose_leaves_out_hidden_files_and_does_no_file_twice(run, network, tmp_path):
    write_images(tmp_path / "images")
    (tmp_path / "images/._cell0.png").write_bytes(b"what macOS keeps beside a file")
    again = ["images/../images/cell0.png", tmp_path / "images"]
    status, out, _ = run("propose", "images", *again)
    assert (status, out) == (0, "4 instances in 2 images: proposals.json\n")


def test_propose_refuses_bad_input_and_leaves_no_results(run, network, tmp_path):
    write_images(tmp_path, 1)
    (tmp_path / "empty").mkdir()
    (tmp_path / "outer/inner").mkdir(parents=True)
    (tmp_path / "note.txt").write_text("no image")
    whole = (tmp_path / "cell0.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "same").mkdir()
    (tmp_path / "same/cell0.jpg").write_bytes(whole)
    for arguments, expected in [
        (["missing.png"], "missing.png does not exist"),
        ([], "Missing argument 'IMAGES...'"),
        (["empty"], "no images in empty\n"),
        (["outer"], "no images in outer: folders in it are not searched"),
        (["cell0.png", "note.txt"], "note.txt is not an image"),
        (["cell0.png", "cut.png"], "cut.png"),
        (["cell0.png", "same"], "cell0.png and same/cell0.jpg"),
        (["cell0.png", "--max-proposals", "0"], "'--max-proposals': 0 is not in the range"),
        (["cell0.png", "--max-proposals", "x"], "'x' is not a valid integer"),
        (["cell0.png", "--score-threshold", "1.5"], "1.5 is not in the range 0<=x<=1"),
        (["cell0.png", "--score-threshold", "nan"], "--score-threshold"),
        (["cell0.png", "--annotations", "note.txt"], "note.txt is not json"),
        (["cell0.png", "--annotations", "none.json"], "none.json does not exist"),
        (["cell0.png", "--output", "no/such/folder.json"], "no/such does not exist"),
        (["cell0.png", "--output", "found/", "--overlay", "o"], "--overlay goes with a json file"),
        (
            ["cell0.png", "--output", "a.json", "--engine", "local"],
            "--engine writes a folder of Parquet files, not a.json",
        ),
        (["images.parquet"], "images.parquet needs a folder to write to"),
        (["s3://bucket/images/"], "s3://bucket/images/ needs a folder to write to"),
        (["cell0.png", "--overlay", "note.txt"], "note.txt"),
        (["cell0.png", "--wrong"], "No such option"),
    ]:
        assert expected in refused(run("propose", *arguments))
        assert not (tmp_path / "proposals.json").exists()
    assert "No such command 'propos'" in refused(run("propos"))


@pytest.mark.parametrize("engine", [(), ("--engine", "local")])
@pytest.mark.parametrize("name", ["found", "found.parquet", "out.csv", "note.txt"])
def test_propose_does_not_guess_what_an_output_is(run, network, tmp_path, name, engine):
    write_images(tmp_path, 1)
    (tmp_path / "note.txt").write_text("a file")
    error = refused(run("propose", "cell0.png", "--output", name, *engine))
    assert f"must end in / for a folder or in .json for a file of results, got {name} (" in error
    assert not (tmp_path / name).exists() or name == "note.txt"


def test_propose_skips_what_cannot_be_read_when_told_to(run, network, tmp_path):
    write_images(tmp_path / "images")
    (tmp_path / "images/cell00.png").write_bytes(b"no image")
    assert "cell00.png" in refused(run("propose", "images"))
    status, out, err = run("propose", "images", "--on-error", "skip")
    assert (status, out) == (0, "4 instances in 3 images, 1 of them skipped: proposals.json\n")
    name = Path("images/cell00.png")
    assert err == f"pyifcn: skipped: {name} is not an image in a known format\n"
    assert len(json.loads((tmp_path / "proposals.json").read_text())) == 4


def test_propose_to_a_folder_goes_on_where_it_was(run, tmp_path):
    pytest.importorskip("pyarrow", reason="Parquet needs pyarrow")
    from pyifcn.inference import read_proposals

    write_annotations(tmp_path / "truth.json", write_images(tmp_path / "images"))
    (tmp_path / "images/cell1.png").rename(tmp_path / "cell1.png")
    status, out, err = run("propose", "images", "--output", "found/")
    assert (status, err) == (0, "")
    count = int(re.fullmatch(r"(\d+) instances in 1 images: found/\n", out)[1])
    assert count > 0
    (tmp_path / "cell1.png").rename(tmp_path / "images/cell1.png")
    status, out, err = run("propose", "images", "--output", "found/", "--engine", "local")
    assert re.fullmatch(r"\d+ instances in 1 images, 1 done before: found/\n", out)
    names = [str(Path("images", f"cell{i}.png")) for i in range(2)]
    assert sorted(found.image for found in read_proposals(tmp_path / "found")) == names
    error = refused(run("propose", "images", "--output", "found", "--score-threshold", 0.25))
    assert "was made with score_threshold None, not 0.25: choose another folder" in error

    error = refused(run("propose", "images", "--output", "https://host/found"))
    assert "https://host/ cannot be opened" in error

    status, out, _ = run("propose", "images", "--engine", "local", "--annotations", "truth.json")
    assert out.endswith(" instances in 2 images: proposals/\n")
    assert sorted(found.image for found in read_proposals(tmp_path / "proposals")) == [10, 11]


def test_propose_refuses_a_folder_it_may_not_write_to(run, network, monkeypatch, tmp_path):
    write_images(tmp_path, 1)
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    assert "not writable" in refused(run("propose", "cell0.png"))


def test_weights_that_are_none(run, tmp_path):
    write_images(tmp_path, 1)
    assert "none.safetensors" in refused(
        run("propose", "cell0.png", "--weights", "none.safetensors")
    )
    (tmp_path / "run").mkdir()
    assert "run is neither a file" in refused(run("propose", "cell0.png", "--weights", "run"))
    (tmp_path / "run/weights.safetensors").write_bytes(b"not weights")
    error = refused(run("propose", "cell0.png", "--weights", "run"))
    assert error == f"pyifcn: run is a folder: give {Path('run/weights.safetensors')}\n"
    (tmp_path / "bad.safetensors").write_bytes(b"not weights")
    assert "bad.safetensors" in refused(run("propose", "cell0.png", "--weights", "bad.safetensors"))


def test_weights_of_another_shape(run, tmp_path):
    from safetensors import safe_open
    from safetensors.torch import save_file

    write_images(tmp_path, 1)
    shipped = Path(cli.__file__).parent / "weights/nuclei.safetensors"
    with safe_open(shipped, "pt") as file:
        metadata = file.metadata()
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    state["masks.2.bias"] = state["masks.2.bias"][:9].clone()
    save_file(state, tmp_path / "nine.safetensors", metadata)
    error = refused(run("propose", "cell0.png", "--weights", "nine.safetensors"))
    assert "nine.safetensors has other shapes: masks.2.bias (9,) instead of (25,)" in error
    save_file(state, tmp_path / "plain.safetensors")
    assert "plain.safetensors" in refused(
        run("propose", "cell0.png", "--weights", "plain.safetensors")
    )


def test_propose_takes_images_of_any_size_and_kind(run, tmp_path):
    kinds = {"dot.png": (1, 1), "thin.png": (2, 90), "flat.jpg": (90, 3), "palette.gif": (40, 30)}
    for name, size in kinds.items():
        Image.new("P" if name == "palette.gif" else "L", size, 1).save(tmp_path / name)
    deep = (np.arange(48 * 32, dtype=np.uint16) * 40).reshape(48, 32)
    Image.fromarray(deep).save(tmp_path / "deep.tif")
    assert run("propose", ".", "--overlay", "overlays")[0] == 0
    assert len(list((tmp_path / "overlays").iterdir())) == 5


def test_evaluate(run, network, tmp_path):
    write_annotations(tmp_path / "truth.json", write_images(tmp_path / "images"))
    arguments = ["evaluate", "--images", "images", "--annotations", "truth.json"]
    status, out, err = run(*arguments)
    assert (status, err) == (0, "")
    assert "AR@1000" in out
    assert "TP/(TP+FP+FN)" in out
    assert "mAP" not in out
    measured = json.loads(run(*arguments, "--json")[1])
    assert measured["images"] == 2
    assert 0 <= measured["AR@10"] <= 1
    assert 0 <= measured["quality"]["0.50"] <= 1
    assert json.loads(run(*arguments, "--json", "--where", "channels=1")[1])["images"] == 1


def test_evaluate_results_of_others(run, tmp_path):
    samples = write_images(tmp_path)
    write_annotations(tmp_path / "truth.json", samples)
    perfect = [
        {"image_id": 10, "category_id": 7, "score": 0.5, "segmentation": rle}
        for rle in samples[0].masks.to_rle()
    ]
    (tmp_path / "found.json").write_text(json.dumps(perfect))
    arguments = ["evaluate", "--results", "found.json", "--annotations", "truth.json", "--json"]
    measured = json.loads(run(*arguments)[1])
    share = len(samples[0].masks) / measured["instances"]
    assert measured["AR@1000"] == pytest.approx(share)
    assert measured["quality"]["0.95"] == pytest.approx(share)


def test_evaluate_says_which_results_have_no_annotations(run, tmp_path):
    samples = write_images(tmp_path)
    write_annotations(tmp_path / "truth.json", samples)

    def evaluate(ids, *options):
        (code,) = samples[0].masks[:1].to_rle()
        results = [{"image_id": name, "score": 0.5, "segmentation": code} for name in ids]
        (tmp_path / "found.json").write_text(json.dumps(results))
        return run("evaluate", "--results", "found.json", "--annotations", "truth.json", *options)

    error = refused(evaluate(["cell0", "cell1"]))
    assert error == (
        "pyifcn: found.json has results of no image of truth.json, but of 'cell0': "
        "propose with --annotations truth.json writes its ids\n"
    )
    status, _, err = evaluate([10, 11, 3, 4, 4])
    assert status == 0
    assert err == "pyifcn: found.json has results of 2 images that truth.json lacks\n"
    for results, options, missing in [
        ([], (), "2 of 2"),
        ([10], (), "1 of 2"),
        ([11], ("--where", "channels=1"), "1 of 1"),
    ]:
        status, _, err = evaluate(results, *options)
        assert (status, err) == (0, f"pyifcn: {missing} images have no results\n")
    assert evaluate(["10", "11"])[::2] == (0, "")


def test_evaluate_knows_images_by_their_file_names(run, network, tmp_path):
    write_annotations(tmp_path / "truth.json", write_images(tmp_path / "in", 3))
    content = json.loads((tmp_path / "truth.json").read_text())
    arguments = ["--results", "proposals.json", "--annotations", "truth.json", "--json"]
    assert run("propose", "in", "--annotations", "truth.json")[0] == 0
    expected = run("evaluate", *arguments)
    assert expected[::2] == (0, "")
    assert run("propose", "in")[0] == 0
    found = json.loads((tmp_path / "proposals.json").read_text())
    for folder, suffix in [("", ".png"), ("a/", ".png"), ("a/", ".jpg")]:
        for number, record in enumerate(content["images"]):
            record["file_name"] = f"{folder}cell{number}{suffix}"
        (tmp_path / "truth.json").write_text(json.dumps(content))
        assert run("evaluate", *arguments) == expected
    content["images"][1]["file_name"] = "b/cell0.jpg"  # whose stem is another's too
    (tmp_path / "truth.json").write_text(json.dumps(content))
    status, _, err = run("evaluate", *arguments)
    assert status == 0
    assert "results of 2 images that truth.json lacks" in err
    assert "2 of 3 images have no results" in err
    for record in found:
        record["file_name"] = "cell2.png"
    (tmp_path / "proposals.json").write_text(json.dumps(found))
    error = refused(run("evaluate", *arguments))
    assert error == "pyifcn: proposals.json has results of the image 12 under two ids\n"


def test_file_names_tell_more_than_ids_that_look_like_numbers(run, tmp_path):
    samples = write_images(tmp_path)
    write_annotations(tmp_path / "truth.json", samples)
    (code,) = samples[0].masks[:1].to_rle()
    found = {"image_id": "11", "file_name": "11.png", "score": 0.5, "segmentation": code}
    (tmp_path / "found.json").write_text(json.dumps([found]))
    arguments = ["evaluate", "--results", "found.json", "--annotations", "truth.json"]
    assert "has results of no image of truth.json, but of '11'" in refused(run(*arguments))


def test_evaluate_refuses_options_that_results_have_no_use_for(run, network, tmp_path):
    write_annotations(tmp_path / "truth.json", write_images(tmp_path))
    (tmp_path / "found.json").write_text("[]")
    arguments = ["evaluate", "--results", "found.json", "--annotations", "truth.json"]
    for options in (
        ["--weights", "nuclei"],
        ["--max-proposals", 10],
        ["--all-proposals"],
        ["--device", "cpu"],
    ):
        error = refused(run(*arguments, *options))
        assert f"--results runs no weights: leave out {options[0]} (" in error


@pytest.fixture
def shapes(tmp_path):
    """Images with two categories, in files, and weights that know these: (samples, model)."""
    import torch

    from pyifcn.data import SyntheticShapes, write_coco
    from pyifcn.models import FCIS, ResidualPyramid, TestSettings, save

    samples = list(SyntheticShapes(3, size=(48, 64)))
    for sample in samples:
        sample.labels = sample.labels % 2 * 4 + 3
    categories = {3: "disc", 7: "box"}
    write_coco(samples, tmp_path / "truth.json", tmp_path / "images", categories)
    torch.manual_seed(1)
    trunk = ResidualPyramid(widths=(8, 8, 8), blocks=(1, 1, 1), channels=8)
    settings = TestSettings(scales=(1.0,), score_threshold=0.335)  # some are below
    model = FCIS(trunk, categories, width=8, settings=settings).eval()
    save(model, tmp_path / "fcis.safetensors")
    return samples, model


FCIS = ("--weights", "fcis.safetensors", "--device", "cpu")
TRUTH = ("--annotations", "truth.json")


@pytest.mark.parametrize("annotations", [(), TRUTH])
def test_propose_writes_the_categories_that_a_network_knows(run, shapes, tmp_path, annotations):
    samples, model = shapes
    status, _, err = run("propose", "images", *FCIS, "--score-threshold", 0, *annotations)
    assert (status, err) == (0, "")
    records = json.loads((tmp_path / "proposals.json").read_text())
    expected = [
        label
        for sample in samples
        for label in model.predict(sample.image, score_threshold=0).labels.tolist()
    ]
    assert [record["category_id"] for record in records] == expected
    assert set(expected) == {3, 7}


def test_propose_writes_categories_to_a_folder(run, shapes, tmp_path):
    pytest.importorskip("pyarrow", reason="Parquet needs pyarrow")
    from pyifcn.inference import read_proposals

    samples, model = shapes
    arguments = ["propose", "images", *FCIS, *TRUTH, "--score-threshold", 0, "--output", "found/"]
    assert run(*arguments)[0] == 0
    found = {found.image: found.labels.tolist() for found in read_proposals(tmp_path / "found")}
    assert found == {
        sample.image_id: model.predict(sample.image, score_threshold=0).labels.tolist()
        for sample in samples
    }


@pytest.mark.parametrize("most", [None, 4])
@pytest.mark.parametrize("every", [False, True])
def test_evaluate_measures_categories_in_one_pass(run, shapes, monkeypatch, most, every):
    from pyifcn import models
    from pyifcn.evaluation import (
        average_precision,
        average_recall,
        coco_average_precision,
        detection_quality,
    )
    from pyifcn.inference import find

    samples, model = shapes
    found = [find(model, s.image, max_proposals=most, all_proposals=every) for s in samples]
    labelled = [model.predict(s.image, score_threshold=0) for s in samples]
    fewer = [len(f.masks) < len(of_all.masks) for f, of_all in zip(found, labelled, strict=True)]
    assert fewer == [not every or most is not None] * 3
    looks, predict = [], models.FCIS.predict

    def counted(self, image, **options):
        looks.append(image)
        return predict(self, image, **options)

    monkeypatch.setattr(models.FCIS, "predict", counted)
    options = (*(["--all-proposals"] * every), *(["--max-proposals", most] if most else []))
    arguments = ["evaluate", "--images", "images", *TRUTH, *FCIS, *options]
    measured = json.loads(run(*arguments, "--json")[1])
    assert len(looks) == len(samples)
    coco = coco_average_precision(labelled, samples)
    expected = average_recall(found, samples) | average_precision(labelled, samples) | coco.figures
    assert {name: measured[name] for name in expected} == expected
    quality = detection_quality(found, samples).quality.tolist()
    assert list(measured["quality"].values()) == quality
    status, out, err = run(*arguments)
    assert (status, err) == (0, "")
    assert f"mAP@0.5       {expected['mAP@0.5']:>8.3f}\nmAP@0.7 " in out
    assert f"\nAP50          {coco.ap50:>8.3f}\nAP75 " in out
    assert min(measured["AP/category"].values()) >= 0


def test_evaluate_measures_categories_of_results(run, shapes, tmp_path):
    from pyifcn.evaluation import coco_results, write_results

    samples, _ = shapes
    arguments = ["evaluate", "--results", "found.json", *TRUTH]

    def evaluated(categories):
        records = []
        for s in samples:
            scores = np.linspace(0.9, 0.1, len(s.masks))
            records += coco_results(s.masks, scores, s.image_id, category_id=categories(s.labels))
        write_results(tmp_path / "found.json", records)
        return json.loads(run(*arguments, "--json")[1])

    right = evaluated(lambda labels: labels)
    assert right["mAP@0.5"] == right["mAP@0.7"] == right["AP"] == right["AP75"] == 1
    assert set(right["AP/category"].values()) == {1}
    table = run(*arguments)[1]
    assert "mAP@0.5          1.000\nmAP@0.7          1.000\n\nIoU" in table
    assert evaluated(lambda labels: 10 - labels)["mAP@0.5"] == 0
    for unknown in (lambda labels: 1, lambda labels: 3, lambda labels: labels + 10):
        plain = evaluated(unknown)
        only = {name for name in set(right) - set(plain) if not name.startswith("AP")}
        assert only == {"mAP@0.5", "mAP@0.7"}
        assert plain["quality"] == right["quality"]
        assert "mAP" not in run(*arguments)[1]


def test_evaluate_refuses_bad_input(run, network, tmp_path):
    write_annotations(tmp_path / "truth.json", write_images(tmp_path))
    (tmp_path / "list.json").write_text("[1, 2]")
    for arguments, expected in [
        (["--annotations", "truth.json"], "give either --images or --results"),
        (["--images", "."], "Missing option '--annotations'"),
        (["--images", ".", "--annotations", "list.json"], "list.json is not COCO"),
        (
            ["--results", "truth.json", "--annotations", "truth.json"],
            "truth.json is not COCO results",
        ),
        (["--results", "none.json", "--annotations", "truth.json"], "none.json does not exist"),
        (["--images", "nowhere", "--annotations", "truth.json"], "nowhere"),
        (["--images", ".", "--annotations", "truth.json", "--where", "x"], "must be KEY=VALUE"),
        (
            ["--images", ".", "--annotations", "truth.json", "--where", "chanels=1"],
            "no image has 'chanels', but id, file_name, height, width, channels",
        ),
        (
            ["--images", ".", "--annotations", "truth.json", "--where", "channels=9"],
            "no such images",
        ),
    ]:
        assert expected in refused(run("evaluate", *arguments))


@pytest.mark.parametrize("width", [10**12, 10**18])
def test_what_does_not_fit_into_memory_is_said_in_a_line(run, tmp_path, width):
    write_annotations(tmp_path / "truth.json", write_images(tmp_path / "images"))
    data = ["--images", "images", "--annotations", "truth.json", "--output", "run"]
    error = refused(run("train", *data, "--width", width))
    assert error.startswith("pyifcn: not enough memory: ")
    assert not (tmp_path / "run").exists()


def test_train_then_propose_and_evaluate(run, tmp_path):
    write_annotations(tmp_path / "truth.json", write_images(tmp_path / "images"))
    data = ["--images", "images", "--annotations", "truth.json"]
    small = ["--steps", 2, "--batch", 1, "--crop", 64, "--crop-fill", "0.3,0.6"]
    small += ["--precision", "float32", "--no-cache"]
    status, out, err = run("train", *data, "--output", "run", *small)
    assert (status, err) == (0, "")
    assert out == "trained 2 steps: run/weights.safetensors\n"
    weights = ["--weights", "run/weights.safetensors"]
    assert run("propose", "images", *weights, "--score-threshold", 0, "--overlay", "o")[0] == 0
    assert json.loads(run("evaluate", *data, *weights, "--json")[1])["images"] == 2
    assert run("train", *data, "--output", "more", *weights, *small, "--steps", 1)[0] == 0


@pytest.mark.parametrize("head", ["deep_mask", "fcn", "fcis"])
def test_other_heads_train_then_propose_and_evaluate(run, tmp_path, head):
    samples = write_images(tmp_path / "in")
    write_annotations(tmp_path / "a.json", samples)
    data = ["--images", "in", "--annotations", "a.json"]
    small = ["--steps", "2", "--batch", "1", "--crop", "64", "--precision", "float32"]
    status, _, err = run("train", *data, "--output", "run", "--head", head, *small)
    assert (status, err) == (0, "")
    weights = ["--weights", "run/weights.safetensors"]
    for every in ([], ["--all-proposals"]):
        status, out, err = run("evaluate", *data, *weights, "--max-proposals", "10", *every)
        assert (status, err) == (0, "")
        assert "AR@10" in out
        assert ("mAP@0.5" in out) == (head != "deep_mask")
    assert run("propose", "in", *weights, "--score-threshold", "0")[0] == 0
    if head != "deep_mask":
        said = refused(run("demo", *weights))
        assert "not InstanceFCN" in said


def test_compare(run, tmp_path):
    samples = write_images(tmp_path / "in")
    write_annotations(tmp_path / "a.json", samples)
    data = ["--images", "in", "--annotations", "a.json", "--val", "a.json"]
    small = ["--steps", "1", "--batch", "1", "--crop", "64", "--precision", "float32"]
    chosen = ["--heads", "k3", "--views", "crop", "--preset", "nuclei"]
    status, out, err = run("compare", *data, *small, *chosen, "--output", "out")
    assert (status, err) == (0, "")
    assert out.startswith("1/1 k3-crop: AR@10, 100, 1000 ")
    assert out.endswith(f"table and pictures: {Path('out/page.md')}\n")
    assert "InstanceFCN, k = 3" in Path("out/table.md").read_text()
    for options, message in (
        (["--heads", "k2"], "heads must be among"),
        (["--views", "both"], "views must be among"),
        (["--images", "in"], "give --annotations, and --val or --val-split"),
        (["--preset", "nuclei"], "give --annotations, and --val or --val-split"),
        (["--annotations", "a.json", "--val", "a.json"], "give --images"),
        ([*data, "--format", "voc"], "a.json is not a folder"),
        (["--batch", "0"], "--batch must be positive, got 0"),
        (["--view", "crop"], "No such option"),
    ):
        assert message in refused(run("compare", "--output", "other", *options))
    assert not Path("other").exists()


def test_compare_opens_data_as_training_does(run, monkeypatch, tmp_path):
    from pyifcn import comparison, data

    asked, compared = [], []
    samples = write_images(tmp_path / "in")
    write_annotations(tmp_path / "a.json", samples)
    opened = data.CocoInstances(tmp_path / "a.json", tmp_path / "in")
    opened.skipped = ("one",)

    def open_dataset(path, images, **options):
        asked.append((path, images, *options.values()))
        return opened

    monkeypatch.setattr(data, "open_dataset", open_dataset)
    monkeypatch.setattr(comparison, "compare", lambda *given, **_: compared.append(given[:2]))
    options = ["--format", "voc", "--split", "train", "--val-split", "val", "--on-error", "skip"]
    status, _, err = run("compare", "--annotations", "VOC", *options, "--output", "out")
    assert status == 0
    voc = Path("VOC")
    assert asked == [(voc, None, "voc", "train", "skip"), (voc, None, "voc", "val", "skip")]
    assert compared == [(opened, opened)]
    assert err.count("2 images used, 1 errors skipped") == 2


def test_train_warns_in_a_line_of_slow_bfloat16(run, monkeypatch, tmp_path):
    import warnings

    from pyifcn.training import trainer

    monkeypatch.setattr(trainer, "_lacks_bfloat16", lambda: True)
    write_annotations(tmp_path / "a.json", write_images(tmp_path / "in"))
    data = ["--images", "in", "--annotations", "a.json", "--output", "run", "--device", "cpu"]
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        status, _, err = run("train", *data, "--steps", 1, "--batch", 1, "--crop", 64)
    assert status == 0
    (line,) = [line for line in err.splitlines() if "bfloat16" in line]
    assert line.startswith("pyifcn: bfloat16 is slow on this CPU")
    assert line.endswith("give --precision float32")


def test_train_refuses_bad_input(run, tmp_path):
    write_annotations(tmp_path / "truth.json", write_images(tmp_path))
    good = ["--images", ".", "--annotations", "truth.json", "--output", "run"]
    for arguments, expected in [
        ([], "Missing option"),
        (
            ["--images", ".", "--annotations", "none.json", "--output", "run"],
            "none.json does not exist",
        ),
        ([*good, "--steps", "0"], "steps must be positive, got 0"),
        ([*good, "--steps", "many"], "'many' is not a valid integer"),
        ([*good, "--crop-fill", "0.5"], "'0.5' is not 2 numbers with commas"),
        ([*good, "--short-sides", "a,b"], "'a,b' is not some numbers"),
        ([*good, "--flip", "never"], "'--flip': 'never' is not one of 'horizontal', 'all'"),
        ([*good, "--learning-rate", "0"], "--learning-rate must be a positive number, got 0.0"),
        ([*good, "--preset", "cats"], "'cats' is not one of"),
        ([*good, "--backbone", "squeezenet", "--pretrained", "none.npz"], "none.npz"),
        ([*good, "--weights", "none.safetensors"], "none.safetensors"),
        ([*good, "--weights", "nuclei", "--backbone", "vgg16"], "leave out --backbone"),
    ]:
        assert expected in refused(run("train", *arguments))
    assert not (tmp_path / "run").exists()


def write_labels(folder, samples):
    folder.mkdir(parents=True, exist_ok=True)
    for i, sample in enumerate(samples):
        labels = sample.masks.to_labels().astype(np.uint16)
        Image.fromarray(labels).save(folder / f"cell{i}_masks.png")


def test_label_images_train_and_evaluate_like_coco(run, network, tmp_path):
    samples = write_images(tmp_path / "images")
    write_labels(tmp_path / "labels", samples)
    write_annotations(tmp_path / "truth.json", samples)
    data = ["--images", "images", "--annotations"]
    printed = run("evaluate", *data, "truth.json", "--json")
    assert run("evaluate", *data, "labels", "--json") == printed
    assert run("evaluate", *data, "labels", "--json", "--format", "labels") == printed
    small = ["--steps", 1, "--batch", 1, "--crop", 64, "--precision", "float32"]
    for name in ("truth.json", "labels"):
        assert run("train", *data, name, "--output", f"run-{name}", *small)[0] == 0
    logs = [Path(f"run-{name}/log.csv").read_text() for name in ("truth.json", "labels")]
    assert logs[0] == logs[1]


def test_broken_files_are_refused_or_skipped_by_name(run, network, tmp_path):
    write_labels(tmp_path / "labels", write_images(tmp_path / "images", 4))
    whole = (tmp_path / "images/cell1.png").read_bytes()
    (tmp_path / "images/cell1.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "labels/cell3_masks.png").unlink()
    arguments = ["--images", "images", "--annotations", "labels"]
    error = refused(run("evaluate", *arguments))
    assert "images: cell3.png has no label image in labels" in error
    status, out, err = run("evaluate", *arguments, "--json", "--on-error", "skip")
    assert status == 0
    assert json.loads(out)["images"] == 2
    first, second, last = err.splitlines()
    assert first == "pyifcn: skipped: images/cell3.png has no label image in labels"
    assert second.startswith("pyifcn: skipped: images/cell1.png cannot be decoded: ")
    assert last == "pyifcn: 2 images used, 2 errors skipped"
    small = ["--steps", 1, "--batch", 1, "--crop", 64, "--precision", "float32"]
    status, out, err = run("train", *arguments, *small, "--output", "run", "--on-error", "skip")
    assert (status, out) == (0, "trained 1 steps: run/weights.safetensors\n")
    assert err.endswith("pyifcn: 2 images used, 2 errors skipped\n")
    for path in (tmp_path / "images").iterdir():
        path.write_bytes(b"")
    status, out, err = run("evaluate", *arguments, "--on-error", "skip")
    assert (status, out) == (2, "")
    assert err.endswith("pyifcn: 0 images used, 4 errors skipped\npyifcn: labels has no images\n")


def test_formats_are_named(run, network, tmp_path):
    write_labels(tmp_path / "labels", write_images(tmp_path / "images"))
    (tmp_path / "other").mkdir()
    for command, end in (("evaluate", []), ("train", ["--output", "run"])):
        for arguments, expected in [
            (["--annotations", "other"], "other looks like none of the known formats"),
            (["--annotations", "other", "--format", "x"], "format must be one of coco, "),
            (["--annotations", "labels", "--format", "labels"], "give "),
            (["--annotations", "labels", "--format", "voc"], "does not exist"),
            (["--annotations", "other", "--format", "coco"], "other is a folder"),
            (["--annotations", "none", "--images", "images"], "none does not exist"),
        ]:
            assert expected in refused(run(command, *arguments, *end))


def start(folder, *arguments, code="import pyifcn.cli; pyifcn.cli.main()", **options):
    environment = os.environ | {"PYTHONPATH": str(Path(cli.__file__).parents[1])}
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


@pytest.mark.parametrize("module", ["torch", "safetensors", "click"])
def test_missing_packages_are_named_with_what_installs_them(module, tmp_path):
    write_images(tmp_path, 1)
    code = (
        "import sys\n"
        "class Missing:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] == {module!r}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Missing())\n"
        "import pyifcn.cli\n"
        "pyifcn.cli.main()"
    )
    process = start(tmp_path, "propose", "cell0.png", code=code)
    out, err = process.communicate(timeout=60)
    assert 'pip install "pyifcn[models]"' in refused((process.returncode, out, err))


def test_help_without_docstrings(tmp_path):
    command = [sys.executable, "-OO", "-m", "pyifcn", "train", "--help"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "--steps INTEGER" in ended.stdout


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT to send")
def test_ctrl_c_is_quiet(tmp_path):
    write_images(tmp_path, 1)
    code = (
        "import pyifcn.cli, signal, time\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # shells may ignore it
        "def stall(*_): print('ready', flush=True); time.sleep(60)\n"
        "pyifcn.cli._load = stall\n"
        "pyifcn.cli.main()"
    )
    process = start(tmp_path, "propose", "cell0.png", code=code)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert (out, err.strip()) == ("", "")
    assert not (tmp_path / "proposals.json").exists()

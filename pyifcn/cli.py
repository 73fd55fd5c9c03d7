"""The program: ``pyifcn demo | propose | train | evaluate | compare | info``."""

from __future__ import annotations

import dataclasses
import inspect
import json
import math
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, partial
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeVar, cast

try:
    import click
    from click.core import ParameterSource
    from tqdm import tqdm
except ModuleNotFoundError:
    print('pyifcn: the program needs more packages: pip install "pyifcn[models]"', file=sys.stderr)
    raise SystemExit(2) from None

import numpy as np

import pyifcn

if TYPE_CHECKING:
    from pyifcn.data import AnnotatedImages, Sample, Truth
    from pyifcn.evaluation import CocoAveragePrecision
    from pyifcn.evaluation.matching import Labelled, Prediction
    from pyifcn.evaluation.results import Result
    from pyifcn.inference import HostInstances
    from pyifcn.models import Network
    from pyifcn.training import Config

_T = TypeVar("_T")
_TOO_LARGE = ("allocate memory", "out of memory", "size calculation overflowed")
_PATH = click.Path(readable=False, path_type=Path)  # our own words for what is wrong


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the program and exit.

    The exit status is 0; 2 after one line on standard error when the input is at fault; 130 when
    interrupted.
    """
    try:
        program.main(arguments, prog_name="pyifcn", standalone_mode=False)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except click.UsageError as error:
        hint = f" (see {error.ctx.command_path} --help)" if error.ctx else ""
        _fail(error.format_message().rstrip(".") + hint)
    except click.ClickException as error:
        _fail(error.format_message())
    except ModuleNotFoundError as error:
        _fail(f'{error.name} is not installed: pip install "pyifcn[models]"')
    except OSError as error:
        named = error.filename is not None and error.strerror
        _fail(f"{error.filename}: {error.strerror}" if named else str(error))
    except (ValueError, ImportError, MemoryError, FloatingPointError) as error:
        _fail(str(error) or type(error).__name__)
    except RuntimeError as error:  # which PyTorch raises for everything, this among it
        if not any(words in str(error) for words in _TOO_LARGE):
            raise
        _fail(f"not enough memory: {error}")
    sys.exit(0)


def _fail(message: str) -> NoReturn:
    click.echo("pyifcn: " + " ".join(message.split()), err=True)
    sys.exit(2)


def _examples(*lines: str) -> str:
    """The end of a command's help, whose lines click would otherwise join."""
    return "\n  ".join(["\b\nExamples:", *lines])


@click.group(
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=_examples(
        "pyifcn demo",
        "pyifcn propose cells/ --output proposals.json --overlay overlays/",
        "pyifcn evaluate --weights nuclei --images images/ --annotations val.json",
    ),
)
@click.version_option(pyifcn.__version__, message="%(prog)s %(version)s")
@click.pass_context
def program(context: click.Context) -> None:
    """Find object instances in images and write their masks."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def _no_nan(context: click.Context, option: click.Parameter, value: float | None) -> float | None:
    if value is not None and math.isnan(value):
        raise click.BadParameter("nan is not a number", context, option)
    return value


_weights_option = click.option(
    "--weights",
    default="nuclei",
    show_default=True,
    metavar="NAME|FILE",
    help="Shipped weights by name, or a file that training wrote.",
)
_backbone_option = click.option(
    "--backbone",
    type=click.Choice(["residual", "residual_large", "squeezenet", "squeezenet_pyramid", "vgg16"]),
    help="Instead of the preset's.",
)
_pretrained_option = click.option(
    "--pretrained",
    type=_PATH,
    metavar="FILE",
    help="The backbone's weights: SqueezeNet's .npz, or torchvision's state dict for VGG-16.",
)
_device_option = click.option(
    "--device",
    type=click.Choice(["cpu", "cuda"]),
    help="Where the network runs; the GPU if there is one.",
)
_most_option = click.option(
    "--max-proposals",
    type=click.IntRange(min=1),
    help="At most this many proposals an image. [default: what the weights recommend]",
)


_all_option = click.option(
    "--all-proposals",
    is_flag=True,
    help="Keep repeated and doubtful proposals too, as average recall is usually measured.",
)
_annotations_option = click.option(
    "--annotations",
    type=_PATH,
    required=True,
    metavar="PATH",
    help="COCO, LVIS or panoptic json, or the folder of VOC, SBD, Cityscapes or label images.",
)
_format_option = click.option(
    "--format",
    "kind",
    metavar="NAME",
    help="Of the annotations, where it does not show: coco, coco-panoptic, lvis, voc, sbd, "
    "cityscapes or labels.",
)
_split_option = click.option(
    "--split", metavar="NAME", help="Which list of VOC, SBD or Cityscapes, for example train."
)
_on_error_option = click.option(
    "--on-error",
    type=click.Choice(["refuse", "skip"]),
    default="refuse",
    show_default=True,
    help="Stop at an image that cannot be read, or read all first and leave out such.",
)


@program.command(epilog=_examples("pyifcn demo --output demo"))
@click.option(
    "--output",
    type=_PATH,
    default=Path("demo"),
    show_default=True,
    help="Folder for the pictures and the results.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Draws another field.")
@_weights_option
def demo(output: Path, seed: int, weights: str) -> None:
    """Segment a generated field of touching nuclei, and show how.

    Writes input.png, overlay.png, score_maps.png and proposals.json.
    """
    from pyifcn.demo import run

    run(output, weights=weights, seed=seed, echo=click.echo)


@program.command(
    epilog=_examples(
        "pyifcn propose cell.png",
        "pyifcn propose cells/ --output found.json --overlay overlays/ --score-threshold 0.5",
        "pyifcn propose photos/ --weights photos --output found/ --on-error skip",
        "pyifcn propose s3://bucket/images.parquet --output s3://bucket/found/ --engine ray",
    )
)
@click.argument("images", nargs=-1, required=True)
@_weights_option
@click.option(
    "--output",
    metavar="JSON|DIR|URL",
    help="COCO results of all images, in a file that ends in .json; or a folder, which exists or "
    "ends in /, for Parquet files. [default: proposals.json, or proposals/ with --engine]",
)
@click.option(
    "--overlay",
    type=_PATH,
    metavar="DIR",
    help="Also write each image with its masks in colour.",
)
@_most_option
@_all_option
@click.option(
    "--score-threshold",
    type=click.FloatRange(0, 1),
    callback=_no_nan,
    help="Leave out instances below this score. [default: what the weights recommend]",
)
@click.option(
    "--annotations",
    type=_PATH,
    metavar="JSON",
    help="COCO annotations that give image ids by file name; else an id is the file's stem, or in "
    "Parquet the path as given. In json they also give the category, the first of theirs, of what "
    "a network finds that knows none.",
)
@click.option(
    "--on-error",
    type=click.Choice(["refuse", "skip"]),
    default="refuse",
    show_default=True,
    help="What to do about an image that cannot be read: end, or go on and tell.",
)
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    help="Write Parquet, in this process or by the workers of a Ray cluster.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="Threads that read images; of --engine ray processes. [default: 2; all that fit]",
)
@click.option(
    "--cpus-per-worker",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Threads of a process of --engine ray.",
)
@click.option(
    "--images-per-part",
    type=click.IntRange(min=1),
    default=256,
    show_default=True,
    help="Images in a Parquet file, which is written when all of them are done.",
)
@_device_option
def propose(
    images: tuple[str, ...],
    weights: str,
    output: str | None,
    overlay: Path | None,
    max_proposals: int | None,
    all_proposals: bool,
    score_threshold: float | None,
    annotations: Path | None,
    on_error: str,
    engine: Literal["local", "ray"] | None,
    workers: int | None,
    cpus_per_worker: int,
    images_per_part: int,
    device: str | None,
) -> None:
    """Find the instances in IMAGES: files, Parquet files of paths or images, or folders of them.

    Of a folder, what has a name that begins with a dot is left out, and folders in it are not
    searched.

    Writes a COCO results list: image_id, file_name, category_id, bbox (x, y, width, height),
    score and segmentation (run-length code) of each instance. The category is what the network
    says, and 1 where it knows none. The file appears when all images are done.

    To a folder it writes Parquet files: image, height, width, score, category, box, counts
    (run-length code) and error. What the folder holds is not done again, so a run that was stopped
    goes on when the same command is given again.
    """
    asked: dict[str, Any] = {
        "max_proposals": max_proposals,
        "score_threshold": score_threshold,
        "all_proposals": all_proposals,
    }
    output = output or ("proposals/" if engine else "proposals.json")
    folder = _is_folder(output)
    if engine and not folder:
        raise click.UsageError(
            f"--engine writes a folder of Parquet files, not {output}", click.get_current_context()
        )
    if not folder:
        _propose_json(
            images, Path(output), overlay, annotations, on_error, workers, weights, device, asked
        )
        return
    if overlay is not None:
        raise click.UsageError(
            "--overlay goes with a json file of results, not a folder", click.get_current_context()
        )
    from pyifcn.inference import Finder, propose_images

    ids = None
    if annotations is not None:
        paths = _image_paths(map(Path, images))
        ids = {str(path): name for path, name in _image_ids(paths, annotations)[0].items()}
        images = tuple(ids)
    finder = Finder(weights, device=device if engine == "ray" else _device(device), **asked)
    with tqdm(desc="proposing", unit="image", disable=None) as bar:
        report = propose_images(
            images,
            output,
            finder,
            ids=ids,
            engine=engine or "local",
            skip=on_error == "skip",
            images_per_part=images_per_part,
            workers=workers,
            cpus_per_worker=cpus_per_worker,
            progress=partial(_show, bar),
        )
    _report(report.done.instances, report.done.images, report.done.skipped, output, report.already)


def _propose_json(
    images: Iterable[str],
    output: Path,
    overlay: Path | None,
    annotations: Path | None,
    on_error: str,
    threads: int | None,
    weights: str,
    device: str | None,
    asked: dict[str, Any],
) -> None:
    for name in images:
        if "://" in name or name.lower().endswith(".parquet"):
            raise click.UsageError(
                f"{name} needs a folder to write to: --output found/", click.get_current_context()
            )
    paths = _image_paths(map(Path, images))
    ids, category = _image_ids(paths, annotations)
    _check_output(output)
    if overlay is not None:
        _check_apart(overlay, paths)
    overlays = {path: overlay / f"{path.stem}.png" for path in paths} if overlay else {}
    read = [*paths, Path(weights), *([annotations] if annotations else [])]
    _check_kept(read, [output, *overlays.values()])
    model = _load(weights, device)
    from PIL import Image

    from pyifcn.data import ImageError, read_image, written_whole
    from pyifcn.evaluation import coco_results, write_results
    from pyifcn.inference.finder import find
    from pyifcn.inference.local import attempt, prefetched
    from pyifcn.plot import overlay as draw

    if overlay is not None:
        _check_distinct({path: path.stem for path in paths}, "their overlays would be one file")
        overlay.mkdir(parents=True, exist_ok=True)
    records: list[dict[str, Any]] = []
    skipped = 0
    loaded = prefetched(lambda path: attempt(partial(read_image, path)), paths, threads or 2)
    for path, image in tqdm(loaded, "proposing", len(paths), unit="image", disable=None):
        if isinstance(image, ImageError):
            if on_error == "refuse":
                raise image
            click.echo(f"pyifcn: skipped: {image}", err=True)
            skipped += 1
            continue
        masks, scores, labels = find(model, image, **asked)
        categories = labels if model.categories else category
        records += coco_results(
            masks, scores, ids[path], file_name=path.name, category_id=categories
        )
        if overlay is not None:
            with written_whole(overlays[path]) as file:
                Image.fromarray(draw(image, masks)).save(file)
    write_results(output, records)
    _report(len(records), len(paths), skipped, output)


def _report(
    instances: int, images: int, skipped: int, output: str | Path, already: int = 0
) -> None:
    more = f", {skipped} of them skipped" if skipped else ""
    before = f", {already} done before" if already else ""
    click.echo(f"{instances} instances in {images} images{more}{before}: {output}")


def _show(bar: Any, done: int, total: int) -> None:
    """Move a bar; what was done before it began does not count for its speed."""
    if bar.total is None:
        bar.reset(total)
        bar.initial = bar.n = bar.last_print_n = done
    bar.update(done - bar.n)


def _is_folder(output: str) -> bool:
    """Whether results go to a folder of Parquet files rather than to a json file."""
    if output.endswith(("/", os.sep)) or Path(output).is_dir():
        return True
    if output.lower().endswith(".json"):
        return False
    if "://" in output:
        return True
    raise click.UsageError(
        f"--output must end in / for a folder or in .json for a file of results, got {output}",
        click.get_current_context(),
    )


class _TrainCommand(click.Command):
    """A command with a flag for each field of ``pyifcn.training.Config``, found when used."""

    left_out: tuple[str, ...] = ()

    def get_params(self, context: click.Context) -> list[click.Parameter]:
        """The command's own parameters, and those of the configuration."""
        own = [option for option in _config_options() if option.name not in self.left_out]
        return [*super().get_params(context), *own]


class _CompareCommand(_TrainCommand):
    """The same, but the view is what is compared."""

    left_out = ("view",)


@cache
def _config_options() -> list[click.Parameter]:
    from pyifcn.training import Config

    described = re.findall(
        r"^    (\w+): (.+?)(?=\n    \w|\n\n|\Z)",
        inspect.getdoc(Config) or "",
        re.DOTALL | re.MULTILINE,
    )
    texts = {name: " ".join(text.split()) for name, text in described}
    return [
        _config_option(field, texts.get(field.name, "")) for field in dataclasses.fields(Config)
    ]


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _config(preset: str, head: str, changes: Mapping[str, Any]) -> Config:
    """The configuration that options ask for; an error begins with the option at fault."""
    from pyifcn import training

    try:
        return training.preset(preset, head, **changes)
    except ValueError as error:
        name, _, rest = str(error).partition(" ")
        raise click.UsageError(f"{_flag(name)} {rest}", click.get_current_context()) from None


def _config_option(field: dataclasses.Field[Any], text: str) -> click.Option:
    from pyifcn.training.config import CHOICES

    flag = _flag(field.name)
    if field.name in CHOICES:
        return click.Option([flag], type=click.Choice(CHOICES[field.name]), help=text)
    if isinstance(field.default, bool):
        return click.Option([f"{flag}/--no-{flag[2:]}"], default=None, help=text)
    if not isinstance(field.default, tuple):
        return click.Option([flag], type=type(field.default), help=text)
    number = type(field.default[0])
    count = None if "..." in str(field.type) else len(field.default)

    def read(context: click.Context, option: click.Parameter, value: str | None) -> Any:
        if value is None:
            return None
        try:
            numbers = tuple(number(part) for part in value.split(","))
        except ValueError:
            numbers = ()
        if not numbers or count not in (None, len(numbers)):
            wanted = f"{count or 'some'} numbers with commas between them"
            raise click.BadParameter(f"{value!r} is not {wanted}", context, option)
        return numbers

    return click.Option([flag], callback=read, metavar="A,B" if count else "A,B,...", help=text)


@program.command(
    cls=_TrainCommand,
    epilog=_examples(
        "pyifcn train --preset nuclei --images images/ --annotations train.json --output runs/mine",
        "torchrun --nproc-per-node=8 -m pyifcn train --images images/ ...",
        "pyifcn propose cell.png --weights runs/mine/weights.safetensors",
    ),
)
@click.option("--images", type=_PATH, metavar="DIR", help="The folder of the images.")
@_annotations_option
@_format_option
@_split_option
@_on_error_option
@click.option(
    "--output",
    type=_PATH,
    required=True,
    metavar="DIR",
    help="Folder of the run: weights.safetensors, log.csv and a checkpoint to go on from.",
)
@click.option(
    "--preset",
    type=click.Choice(["nuclei", "photos", "paper"]),
    default="nuclei",
    show_default=True,
    help="The network, and the default of every option below.",
)
@_backbone_option
@_pretrained_option
@click.option(
    "--weights", metavar="NAME|FILE", help="Start from this network instead of a new one."
)
@click.option(
    "--head",
    type=click.Choice(["instance_fcn", "deep_mask", "fcn", "fcis"]),
    help="What stands on the backbone: instance_fcn if nothing is said; fcn and fcis learn the "
    "annotations' categories.",
)
@click.option(
    "--width",
    type=click.IntRange(1),
    metavar="N",
    help="Channels inside the head, if not 64 or 96 on the residual backbones, 128 on SqueezeNet's "
    "pyramid and 512 on others.",
)
@click.option("--tensorboard", is_flag=True, help="Log to TensorBoard as well.")
@_device_option
def train(
    images: Path | None,
    annotations: Path,
    kind: str | None,
    split: str | None,
    on_error: str,
    output: Path,
    preset: str,
    backbone: str | None,
    pretrained: Path | None,
    weights: str | None,
    head: str | None,
    width: int | None,
    tensorboard: bool,
    device: str | None,
    **changes: Any,
) -> None:
    """Train a network on annotated images.

    A run that was stopped goes on when the same command is given again. Started by torchrun,
    several processes train together.
    """
    if weights and (backbone or pretrained or head or width):
        raise click.UsageError(
            "--weights brings its own network: "
            "leave out --backbone, --pretrained, --head and --width",
            click.get_current_context(),
        )
    import torch

    from pyifcn import training
    from pyifcn.models import load

    given = {name: value for name, value in changes.items() if value is not None}
    loaded = load(weights) if weights else None
    head = loaded.kind if loaded else head or "instance_fcn"
    config = _config(preset, head, given)
    data = _open_images(annotations, images, kind, split, on_error)
    torch.manual_seed(config.seed)
    model = loaded or training.network(
        preset, backbone, pretrained, head=head, width=width, categories=data.categories
    )
    with _warnings_as_lines(), training.processes(_device(device)) as own:
        training.train(model.to(own), data, config, output, tensorboard=tensorboard)
        if training.is_first():
            click.echo(f"trained {config.steps} steps: {output / 'weights.safetensors'}")
            _count_skipped(data)


@program.command(
    epilog=_examples(
        "pyifcn evaluate --weights nuclei --images images/ --annotations val.json",
        "pyifcn evaluate --weights nuclei --images images/ --annotations label_images/",
        "pyifcn evaluate --results found.json --annotations val.json --where channels=1",
    )
)
@_weights_option
@click.option("--images", type=_PATH, metavar="DIR", help="The folder of the images.")
@_annotations_option
@_format_option
@_split_option
@_on_error_option
@click.option(
    "--results",
    type=_PATH,
    metavar="JSON",
    help="COCO results to measure, from anywhere, instead of running weights on the images.",
)
@click.option(
    "--where",
    metavar="KEY=VALUE",
    multiple=True,
    help="Only images whose record in the annotations says so, for example channels=1.",
)
@_most_option
@_all_option
@click.option("--json", "as_json", is_flag=True, help="Print json instead of tables.")
@_device_option
def evaluate(
    weights: str,
    images: Path | None,
    annotations: Path,
    kind: str | None,
    split: str | None,
    on_error: str,
    results: Path | None,
    where: tuple[str, ...],
    max_proposals: int | None,
    all_proposals: bool,
    as_json: bool,
    device: str | None,
) -> None:
    """Measure weights, or a results file, against annotations.

    Prints the average recall of the first 10, 100 and 1000 instances of an image (IoU of masks
    0.5 to 0.95, categories ignored, as COCO's evaluator has it), and TP / (TP + FP + FN) at each
    IoU. Where the weights know categories, or the results tell more than one of the annotations',
    also COCO's AP of the 100 best instances of an image and category, and mAP at IoU 0.5 and 0.7
    by the VOC's rules, of all instances whatever their score and number.
    """
    from pyifcn.evaluation import (
        average_precision,
        average_recall,
        coco_average_precision,
        detection_quality,
        read_results,
        report,
    )

    not_one = click.UsageError("give either --images or --results", click.get_current_context())
    if images is not None and results is not None:
        raise not_one
    if results is not None:
        _refuse_given("weights", "max_proposals", "all_proposals", "device")
    data = _open(annotations, images, kind, split, on_error)
    if data.images is None and results is None:
        raise not_one
    records = data.records
    for condition in where:
        data = data.filter(_matcher(condition, records))
    if not len(data):
        raise click.ClickException(f"{annotations} has no such images")
    truths = [data.truth(i) for i in range(len(data))]
    if results is not None:
        found = _with_known_ids(read_results(results), records, results)
        _check_known(found, {record["id"] for record in records}, results, annotations)
        _count_missing(found, truths)
        predictions, labelled = _predictions(found, truths, data.categories)
    else:
        model = _load(weights, device)
        predictions, labelled = _searched(model, data, max_proposals, all_proposals)
    recall = average_recall(predictions, truths)
    quality = detection_quality(predictions, truths)
    precision = average_precision(labelled, truths) if labelled else {}
    coco = coco_average_precision(labelled, truths) if labelled else None
    if as_json:
        measured = {"images": len(truths), "instances": sum(len(t.masks) for t in truths)}
        by_iou = {f"{t:.2f}": q for t, q in zip(quality.thresholds, quality.quality, strict=True)}
        figures = recall | precision | (_coco_figures(coco, data.categories) if coco else {})
        click.echo(json.dumps(measured | figures | {"quality": by_iou}, indent=2))
    else:
        click.echo(report(recall, quality, precision, coco))
    _count_skipped(data)


def _coco_figures(
    coco: CocoAveragePrecision, categories: Mapping[int, str]
) -> dict[str, float | dict[str, float]]:
    """The figures, and AP by the names of the categories that have instances."""
    named = {
        categories.get(label, str(label)): value
        for label, value in coco.per_category.items()
        if not math.isnan(value)
    }
    return {**coco.figures, "AP/category": named}


def _refuse_given(*names: str) -> None:
    """Fail if options that say what to run are given with results to measure."""
    context = click.get_current_context()
    given = [
        option.opts[0]
        for option in context.command.params
        if option.name in names
        and context.get_parameter_source(option.name) is ParameterSource.COMMANDLINE
    ]
    if given:
        raise click.UsageError(
            f"--results runs no weights: leave out {' and '.join(given)}", context
        )


def _with_known_ids(
    found: Mapping[int | str, Result], records: Sequence[dict[str, Any]], path: Path
) -> Mapping[int | str, Result]:
    """The results by the annotations' ids, if they have none of these but file names or text."""
    if not found or any(record["id"] in found for record in records):
        return found
    by_text = {str(record["id"]): record["id"] for record in records}
    by_name, names = _ids_by_name(records), _file_names(path)
    renamed: dict[int | str, Result] = {}
    for old, result in found.items():
        if old in names:
            name = Path(names[old])
            known = [by_name[n] for n in (str(name), name.name, name.stem) if n in by_name]
        else:
            known = [by_text[str(old)]] if str(old) in by_text else []
        new = known[0] if known else old
        if new in renamed:
            raise click.ClickException(f"{path} has results of the image {new!r} under two ids")
        renamed[new] = result
    return renamed


def _ids_by_name(records: Sequence[dict[str, Any]]) -> dict[str, int | str]:
    """Ids by file name, and by base name and stem where one image alone has it."""
    ids: dict[str, int | str] = {}
    for shorter in (str, lambda name: Path(name).name, lambda name: Path(name).stem):
        names = [shorter(record["file_name"]) for record in records]
        counts = Counter(names)
        for name, record in zip(names, records, strict=True):
            if counts[name] == 1:
                ids.setdefault(name, record["id"])
    return ids


def _file_names(results: Path) -> dict[int | str, str]:
    """The file name that results keep beside an image's id."""
    from pyifcn.data.checks import read_json

    names = {record["image_id"]: record.get("file_name") for record in read_json(results)}
    return {image_id: name for image_id, name in names.items() if isinstance(name, str)}


def _count_missing(found: Collection[int | str], truths: Sequence[Truth]) -> None:
    missing = sum(truth.image_id not in found for truth in truths)
    if missing:
        click.echo(f"pyifcn: {missing} of {len(truths)} images have no results", err=True)


def _check_known(
    found: Collection[int | str], known: Collection[int | str], results: Path, annotations: Path
) -> None:
    """Say how many images have results but no annotations; fail if all of them."""
    unknown = sum(image_id not in known for image_id in found)
    if unknown and unknown == len(found):
        raise click.ClickException(
            f"{results} has results of no image of {annotations}, but of {next(iter(found))!r}: "
            f"propose with --annotations {annotations} writes its ids"
        )
    if unknown:
        click.echo(
            f"pyifcn: {results} has results of {unknown} images that {annotations} lacks", err=True
        )


def _predictions(
    found: Mapping[int | str, Result], truths: Sequence[Truth], categories: Mapping[int, str]
) -> tuple[Sequence[Prediction], Sequence[Labelled]]:
    """The results of each image; and the same if mAP is to be measured of them."""
    nothing = np.zeros(0), np.zeros(0, np.int64)
    predictions = [found.get(t.image_id, (t.masks[:0], *nothing)) for t in truths]
    told = {label for _, _, labels in found.values() for label in labels.tolist()}
    return predictions, predictions if len(told & categories.keys()) > 1 else []


def _searched(
    model: Network, data: AnnotatedImages, max_proposals: int | None, all_proposals: bool
) -> tuple[Sequence[Prediction], Sequence[Labelled]]:
    """What is found in each image; and of a network with categories all that it predicts."""
    from pyifcn.inference.finder import find

    samples = _progress(data, "evaluating")
    if not model.categories:
        found = (
            find(model, sample.image, max_proposals=max_proposals, all_proposals=all_proposals)
            for sample in samples
        )
        return list(found), []
    every = [find(model, sample.image, score_threshold=0) for sample in samples]
    threshold = 0 if all_proposals else model.settings.score_threshold
    return [_best(found, threshold, max_proposals) for found in every], every


def _best(found: HostInstances, threshold: float, most: int | None) -> Prediction:
    """What `find` gives with these limits."""
    count = int((found.scores >= threshold).sum())
    kept = slice(count if most is None else min(count, most))
    return found.masks[kept], found.scores[kept]


@program.command(
    cls=_CompareCommand,
    epilog=_examples(
        "pyifcn compare --output runs/shapes",
        "pyifcn compare --preset nuclei --images images/ --annotations train.json --val val.json "
        "--steps 4000 --output runs/nuclei",
    ),
)
@click.option(
    "--preset",
    type=click.Choice(["shapes", "nuclei", "photos", "paper"]),
    default="shapes",
    show_default=True,
    help="The trunk, and the default of every option below; shapes draws its images itself.",
)
@click.option("--images", type=_PATH, metavar="DIR", help="The folder of the images.")
@click.option("--annotations", type=_PATH, metavar="PATH", help="Annotations to train on.")
@_format_option
@_split_option
@_on_error_option
@click.option(
    "--val", type=_PATH, metavar="PATH", help="Annotations to measure on, if not the same."
)
@click.option("--val-split", metavar="NAME", help="Which list of these, for example val.")
@click.option(
    "--output",
    type=_PATH,
    required=True,
    metavar="DIR",
    help="Folder for table.md, table.json, page.md with its pictures, and a run of each network.",
)
@click.option(
    "--heads",
    default="fcn,deepmask,k1,k3,k5,k7,fcis",
    show_default=True,
    metavar="A,B,...",
    help="What to compare; k5 is InstanceFCN with 5 x 5 maps.",
)
@click.option(
    "--views",
    default="crop,image",
    show_default=True,
    metavar="A,B",
    help="What to train on: crops, whole images, or both.",
)
@_backbone_option
@_pretrained_option
@_device_option
def compare(
    preset: str,
    images: Path | None,
    annotations: Path | None,
    kind: str | None,
    split: str | None,
    on_error: str,
    val: Path | None,
    val_split: str | None,
    output: Path,
    heads: str,
    views: str,
    backbone: str | None,
    pretrained: Path | None,
    device: str | None,
    **changes: Any,
) -> None:
    """Train the heads on one trunk with one budget, and measure them side by side.

    A comparison that was stopped goes on when the same command is given again.
    """
    from pyifcn import comparison
    from pyifcn.data import SyntheticShapes

    given = {name: value for name, value in changes.items() if value is not None}
    _config(preset, "instance_fcn", given)
    opened: list[AnnotatedImages] = []
    if annotations is not None and (val is not None or val_split is not None):
        opened = [
            _open_images(annotations, images, kind, split, on_error),
            _open_images(val or annotations, images, kind, val_split, on_error),
        ]
    elif images or annotations or val or kind or split or val_split or preset != "shapes":
        raise click.UsageError(
            "give --annotations, and --val or --val-split", click.get_current_context()
        )
    chosen: list[Sequence[Sample]] = [*opened] or [
        SyntheticShapes(400, size=(128, 128)),
        SyntheticShapes(60, size=(128, 128), seed=1),
    ]
    with _warnings_as_lines():
        comparison.compare(
            chosen[0],
            chosen[1],
            output,
            preset=preset,
            heads=[head.strip() for head in heads.split(",")],
            views=[view.strip() for view in views.split(",")],
            changes=given,
            backbone=backbone,
            pretrained=pretrained,
            device=_device(device),
            echo=click.echo,
        )
    for data in opened:
        _count_skipped(data)


@program.command()
def info() -> None:
    """Say what is installed and what runs the kernels."""
    click.echo("\n".join(f"{name:<9} {value}" for name, value in _facts().items()))


def _facts() -> dict[str, str]:
    import importlib.util
    import platform

    from pyifcn._runtime import num_threads

    facts = {
        "pyifcn": pyifcn.__version__,
        "python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "target": f"{pyifcn.current_target()} (of {', '.join(pyifcn.available_targets())})",
    }
    if importlib.util.find_spec("torch") is None:
        facts["torch"] = 'not installed: pip install "pyifcn[models]"'
    else:
        import torch

        facts["torch"] = torch.__version__
        facts["GPU"] = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    built = importlib.util.find_spec("pyifcn._cuda") is not None
    facts["CUDA"] = "kernels built" if built else "kernels not built"
    facts["threads"] = str(num_threads())
    return facts


def _open(
    annotations: Path, images: Path | None, kind: str | None, split: str | None, on_error: Any
) -> AnnotatedImages:
    """A data set, once it has been said which images are left out."""
    import warnings

    from pyifcn.data import SkippedWarning, open_dataset

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SkippedWarning)
        data = open_dataset(annotations, images, format=kind, split=split, on_error=on_error)
    for line in data.skipped:
        click.echo(f"pyifcn: skipped: {' '.join(line.split())}", err=True)
    if not len(data):
        _count_skipped(data)
        raise click.ClickException(f"{annotations} has no images")
    return data


def _open_images(
    annotations: Path, images: Path | None, kind: str | None, split: str | None, on_error: str
) -> AnnotatedImages:
    """A data set with its images."""
    data = _open(annotations, images, kind, split, on_error)
    if data.images is None:
        raise click.UsageError("give --images", click.get_current_context())
    return data


def _count_skipped(data: AnnotatedImages) -> None:
    if data.skipped:
        click.echo(f"pyifcn: {len(data)} images used, {len(data.skipped)} errors skipped", err=True)


@contextmanager
def _warnings_as_lines() -> Iterator[None]:
    """Warnings in the program's own words, without the place in the code."""
    import warnings

    def show(message: Warning | str, *place: Any, **more: Any) -> None:
        click.echo(f"pyifcn: {message}", err=True)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def _load(weights: str, device: str | None) -> Network:
    from pyifcn.models import load

    return load(weights).to(_device(device))


def _device(asked: str | None) -> str:
    import torch

    if asked == "cuda" and not torch.cuda.is_available():
        raise click.ClickException("--device cuda: torch finds no GPU")
    return asked or ("cuda" if torch.cuda.is_available() else "cpu")


def _matcher(condition: str, records: Iterable[dict[str, Any]]) -> Callable[[dict[str, Any]], bool]:
    key, equals, value = condition.partition("=")
    if not equals:
        raise click.UsageError(
            f"--where must be KEY=VALUE, got {condition!r}", click.get_current_context()
        )
    keys = dict.fromkeys(known for record in records for known in record)
    if key not in keys:
        raise click.ClickException(
            f"--where {condition}: no image has {key!r}, but {', '.join(keys)}"
        )
    return lambda record: str(record.get(key)) == value


def _image_paths(given: Iterable[Path]) -> list[Path]:
    """The images among ``given``, in the order given and sorted within folders."""
    from pyifcn.data.images import SUFFIXES
    from pyifcn.inference.storage import merged

    paths: list[Path] = []
    for path in given:
        if path.is_dir():
            found = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
            shown = [p for p in found if not p.name.startswith(".")]
            if not shown:
                inner = any(p.is_dir() for p in path.iterdir())
                hint = ": folders in it are not searched" if inner else ""
                raise click.ClickException(f"no images in {path}{hint}")
            paths += shown
        elif path.exists():
            paths.append(path)
        else:
            raise click.ClickException(f"{path} does not exist")
    return list(map(Path, merged(map(str, paths))))


def _image_ids(
    paths: Sequence[Path], annotations: Path | None
) -> tuple[dict[Path, int | str], int]:
    """Each image's id, and the category to write."""
    if annotations is None:
        ids: dict[Path, int | str] = {path: path.stem for path in paths}
        _check_distinct(ids, "their ids would be the same; give them with --annotations")
        return ids, 1
    from pyifcn.data import CocoInstances

    data = CocoInstances(annotations, annotations.parent)
    records: dict[str, list[dict[str, Any]]] = {}
    for record in data.records:
        records.setdefault(Path(record["file_name"]).name, []).append(record)
    ids = {path: _record_of(path, records.get(path.name, []), annotations)["id"] for path in paths}
    _check_distinct(ids, "have one id")
    return ids, min(data.categories, default=1)


def _record_of(path: Path, records: Sequence[dict[str, Any]], annotations: Path) -> dict[str, Any]:
    """Of the records with an image's name, that whose path agrees with its for longest."""
    if not records:
        raise click.ClickException(f"{annotations} has no image {path.name}")
    if len(records) == 1:
        return records[0]
    ends = [_common_end(path.absolute(), Path(record["file_name"])) for record in records]
    longest = max(ends)
    if ends.count(longest) > 1:
        names = " or ".join(record["file_name"] for record in records)
        raise click.ClickException(f"{path} could be {names} of {annotations}")
    return records[ends.index(longest)]


def _common_end(one: Path, other: Path) -> int:
    """How many parts at their ends two paths have in common."""
    pairs = zip(reversed(one.parts), reversed(other.parts), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _check_distinct(ids: Mapping[Path, int | str], problem: str) -> None:
    first: dict[int | str, Path] = {}
    for path, image_id in ids.items():
        if image_id in first:
            raise click.ClickException(f"{first[image_id]} and {path}: {problem}")
        first[image_id] = path


def _check_output(path: Path) -> None:
    """Fail before the work rather than after it."""
    from pyifcn.data.files import replaced_file

    if path.is_dir():
        raise click.ClickException(f"{path} is a folder, not a file to write")
    folder = replaced_file(path).parent
    if not folder.is_dir():
        raise click.ClickException(f"the folder {folder} does not exist")
    if not os.access(folder, os.W_OK):
        raise click.ClickException(f"the folder {folder} is not writable")


def _check_apart(overlay: Path, images: Iterable[Path]) -> None:
    """Fail if overlays would lie among the images."""
    folders = {image.parent for image in images}
    if os.path.realpath(overlay) in map(os.path.realpath, folders):
        raise click.ClickException(f"--overlay must not be a folder of the inputs, got {overlay}")


def _check_kept(read: Iterable[Path], written: Iterable[Path]) -> None:
    """Fail if a file that is read would be overwritten."""
    kept = {_identity(path) for path in read if path.exists()}
    for path in written:
        if path.exists() and _identity(path) in kept:
            raise click.ClickException(f"{path} is an input and would be overwritten")


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _progress(items: Iterable[_T], what: str) -> Iterable[_T]:
    """A bar on a terminal, nothing elsewhere."""
    return cast(Iterable[_T], tqdm(items, desc=what, unit="image", disable=None))

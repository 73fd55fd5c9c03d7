"""What the documentation says is true: examples run, commands exist, links lead somewhere."""

import doctest
import re
import runpy
import shlex
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the documentation's examples need PyTorch")

from pyifcn.cli import program

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def name(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_examples_on_the_page_run(page):
    assert doctest.testfile(str(page), module_relative=False, optionflags=FLAGS).failed == 0


@pytest.mark.parametrize("script", EXAMPLES, ids=name)
def test_example_scripts_run(script, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    try:
        runpy.run_path(str(script), run_name="__main__")
    except SystemExit as left:
        if not str(left.code).startswith("skipped, "):
            raise
        pytest.skip(str(left.code).removeprefix("skipped, "))
    assert capsys.readouterr().out


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_on_the_page_exist(page):
    makefile = (ROOT / "Makefile").read_text()
    text = page.read_text().replace("\\\n", " ")
    for line in re.findall(r"^\$ (.+)$", text, re.MULTILINE):
        words = shlex.split(line, comments=True)
        if words[0] == "make":
            assert f"\n{words[1]}:" in makefile, line
        if words[0] == "pyifcn" and words[1] in program.commands:
            command = program.commands[words[1]]
            command.make_context(words[1], words[2:])  # raises if an option is unknown or missing
        elif words[0] == "pyifcn":
            assert words[1].startswith("-"), line


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_on_the_page_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), target

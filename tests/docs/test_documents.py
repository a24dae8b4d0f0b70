"""What the documents say is so: code, commands, links, and the words of the glossary."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import typer

from vemctl import registry
from vemctl.__main__ import main
from vemctl.cli.app import app
from vemctl.plugin import Footprint
from vemctl.tiles.grid import axis_grid

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "tests" / "assets" / "vemctl-echo"
LEARNER = ROOT / "tests" / "assets" / "vemctl-tiny"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
CURRENT = [  # the others speak of what was, or might have been
    path for path in DOCUMENTS if path.stem != "CHANGELOG" and path.parent.name != "decisions"
]
TUTORIAL = ROOT / "docs" / "writing-a-method.md"
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
QUOTED = re.compile(r"<!-- from (\S+) -->\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RUNS = re.compile(r"<!-- runs -->\n```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")
TERM = re.compile(r"^- \*\*(.+?)\*\*: (.+)$", re.MULTILINE)


def relative(path: Path) -> str:
    """Return the name of a document for the report."""
    return str(path.relative_to(ROOT))


def without_code(text: str) -> str:
    """Return Markdown without its code."""
    return re.sub(r"`[^`]*`|^ {4}.*$", "", FENCE.sub("", text), flags=re.MULTILINE)


def pages() -> dict[str, Path]:
    """Return the pages of the methods by the methods' names."""
    return {path.stem: path for path in sorted((ROOT / "docs" / "methods").glob("*.md"))}


def quotations() -> list[tuple[str, str, str]]:
    """Return document, file and text of every marked block of code."""
    return [
        (relative(document), source, block)
        for document in DOCUMENTS
        for source, block in QUOTED.findall(document.read_text(encoding="utf-8"))
    ]


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Make the samples look installed in this process."""
    site = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as monkeypatch:
        for sample in (SAMPLE, LEARNER):
            text = (sample / "pyproject.toml").read_text(encoding="utf-8")
            project = tomllib.loads(text)["project"]
            name = project["name"]
            facts = site / f"{name.replace('-', '_')}-0.dist-info"
            facts.mkdir()
            (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0\n")
            points = project["entry-points"][registry.GROUP]
            lines = [f"{name} = {value}" for name, value in points.items()]
            (facts / "entry_points.txt").write_text("\n".join([f"[{registry.GROUP}]", *lines]))
            monkeypatch.syspath_prepend(str(sample))
        monkeypatch.syspath_prepend(str(site))
        registry.method_entry_points.cache_clear()
        yield
    registry.method_entry_points.cache_clear()


# ------------------------------------------------------------------------------------ code


@pytest.mark.parametrize(("document", "source", "block"), quotations())
def test_quoted_code_occurs_in_its_file(document, source, block):
    """A block that names a file is found there, word for word."""
    assert block in (ROOT / source).read_text(encoding="utf-8"), f"{document} quotes {source}"


def test_the_tutorial_shows_the_whole_sample():
    """Whoever types the blocks has the sample: no line of it is left out, none is unmarked."""
    text = TUTORIAL.read_text(encoding="utf-8")
    for path in (SAMPLE / "pyproject.toml", *sorted(SAMPLE.glob("vemctl_echo/*.py"))):
        blocks = [block for source, block in QUOTED.findall(text) if source == relative(path)]
        shown = [line for line in "".join(blocks).splitlines() if line]
        assert shown == [line for line in path.read_text(encoding="utf-8").splitlines() if line]
    marked = len(QUOTED.findall(text)) + len(RUNS.findall(text))
    assert marked == sum(language in {"python", "toml"} for language, _ in FENCE.findall(text))


@pytest.mark.parametrize("block", RUNS.findall(TUTORIAL.read_text(encoding="utf-8")))
def test_code_of_no_file_runs(block):
    """A block that is not quoted is run as it stands."""
    exec(compile(block, TUTORIAL.name, "exec"), {})


def test_the_drawing_of_the_tiles_is_that_of_the_grid():
    """Tiles, halos and what crop keeps stand in the tutorial where the grid puts them."""
    text = TUTORIAL.read_text(encoding="utf-8")
    size, tile, halo, overlap = map(
        int, re.search(r"size (\d+), tile (\d+), halo (\d+), overlap (\d+)", text).groups()
    )
    footprint = Footprint((tile, 1, 1), overlap=(overlap, 0, 0), halo=(halo, 0, 0))
    axis = axis_grid(size, 0, footprint)
    drawn = [f"{'volume':11}{'=' * size}"]
    for k in range(axis.num_tiles):
        dots = "." * halo
        drawn.append(f"{f'tile {k}':{11 - halo + axis.start(k)}}{dots}{str(k) * axis.core}{dots}")
    kept = [str(k) * (np.ptp(axis.owned_range(k))) for k in range(axis.num_tiles)]
    drawn.append(f"{'crop':11}{''.join(kept)}")
    assert "\n".join(drawn) in text


# -------------------------------------------------------------------------------- commands


def documented() -> Iterator[tuple[str, str]]:
    """Yield document and command, of every line of code that begins with vemctl."""
    for document in DOCUMENTS:
        fenced = False
        for line in document.read_text(encoding="utf-8").splitlines():
            fenced ^= line.lstrip().startswith("```")
            if not fenced and not line.startswith(" " * 4):
                continue
            for part in line.split(" && "):
                if part.strip().startswith("vemctl ") and "[OPTIONS]" not in part:
                    yield relative(document), part.strip()


def mentioned() -> Iterator[tuple[str, str]]:
    """Yield document and command, of every command in running text; it may be cut short."""
    for document in CURRENT:
        text = FENCE.sub("", document.read_text(encoding="utf-8"))
        for span in re.findall(r"`(vemctl\s[^`]*)`", text):
            if "[OPTIONS]" not in span:
                yield relative(document), " ".join(span.split())


@cache
def found(*names: str) -> tuple[Any, Any]:
    """Return the command that `names` lead to, and its context, or of a command its group's."""
    if not names:
        command, context = typer.main.get_command(app), None
    else:
        group, context = found(*names[:-1])
        assert names[-1] in group.list_commands(context), f"no command {names[-1]}"
        command = group.resolve_command(context, [names[-1]])[1]
    if hasattr(command, "resolve_command"):
        name = names[-1] if names else "vemctl"
        context = command.make_context(name, [], parent=context, resilient_parsing=True)
    return command, context


def find(words: list[str]) -> tuple[list[str], list[str]]:
    """Return the words that name a command, and its arguments."""
    count = 0
    while hasattr(found(*words[:count])[0], "resolve_command"):
        if not words[count:] or words[count].startswith("-") or words[count].isupper():
            break
        count += 1
    return words[:count], words[count:]


@cache
def flags(*names: str) -> set[str]:
    """Return all spellings of the flags of a command."""
    command, context = found(*names)
    parameters = command.get_params(command.make_context("", [], context, resilient_parsing=True))
    return {flag for each in parameters for flag in (*each.opts, *each.secondary_opts)}


@pytest.mark.parametrize(("document", "line"), sorted(set(documented())))
def test_a_documented_command_parses(echo, document, line):
    """Command, arguments, flags and their values are such as the program takes."""
    names, rest = find(shlex.split(line, comments=True)[1:])
    assert not {word for word in rest if re.match(r"--?[a-z]", word)} - flags(*names)
    if not {"--help", "-h"} & set(rest):
        command, context = found(*names)
        command.make_context("", rest, parent=context)


@pytest.mark.parametrize(("document", "line"), sorted(set(mentioned())))
def test_a_command_in_running_text_exists(echo, document, line):
    """Its words name a command, and its flags are flags of that command."""
    names, rest = find(shlex.split(line)[1:])
    used = {word.partition("=")[0] for word in rest if re.match(r"--?[a-z]", word)}
    assert not used - flags(*names)


def commands_of(method: str) -> list[list[str]]:
    """Return the commands that a method has, as words."""
    own = registry.get(method)
    learned = {
        "train": own.train_options,
        "finetune": own.finetune_options,
        "prepare": own.prepare_options,
    }
    return [["predict", method], *([name, method] for name in learned if learned[name])]


@cache
def flags_of(method: str) -> set[str]:
    """Return all spellings of the flags of all commands that a method has."""
    return {flag for words in commands_of(method) for flag in flags(*words)}


@cache
def every_flag() -> set[str]:
    """Return all spellings of the flags of all commands, and of the methods that are ours."""
    root, weights = found(), found("weights")
    commands = [[name] for name in root[0].list_commands(root[1]) if name != "predict"]
    commands += [["weights", name] for name in weights[0].list_commands(weights[1])]
    known = flags().union(*(flags_of(name) for name in (*pages(), "echo", "tiny")))
    return known | {flag for words in commands for flag in flags(*words)}


@pytest.mark.parametrize("document", CURRENT, ids=relative)
def test_a_flag_in_running_text_exists(echo, document):
    """On the page of a method it is a flag of that method, elsewhere one of any command."""
    of_method = document.parent.name == "methods"
    known = flags_of(document.stem) if of_method else every_flag()
    text = FENCE.sub("", document.read_text(encoding="utf-8"))
    assert set(re.findall(r"`(--[\w-]+)[^`]*`", text)) <= known


def test_documented_errors_are_those_of_the_program(echo, tmp_path, monkeypatch, capsys):
    """A command after a prompt says what the line below it says."""
    monkeypatch.chdir(tmp_path)
    tifffile.imwrite("in.tif", np.zeros((4, 8, 8), np.uint8), photometric="minisblack")
    text = "\n".join(document.read_text(encoding="utf-8") for document in DOCUMENTS)
    dialogues = re.findall(r"^ *\$ vemctl (.*)\n *(error: .*)$", text, re.MULTILINE)
    assert dialogues
    for line, error in dialogues:
        assert main(shlex.split(line)) == 2
        assert capsys.readouterr().err.strip() == error


# ------------------------------------------------------------------------- links and lists


@pytest.mark.parametrize("document", DOCUMENTS, ids=relative)
def test_links_within_the_project_resolve(document):
    """A relative link leads to a file, and its fragment to a heading there."""
    for link in LINK.findall(without_code(document.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, fragment = link.partition("#")
        target = (document.parent / name).resolve() if name else document
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        if fragment:
            headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = [re.sub(r"[^\w\- ]", "", each).lower().replace(" ", "-") for each in headings]
            assert fragment in slugs, link


def test_the_changelog_has_a_place_for_what_is_not_released():
    """Its first section is Unreleased."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE)[0] == "[Unreleased]"


def test_every_method_has_its_page_and_every_page_its_method():
    """The methods that the distribution declares are those of docs/methods and of the README."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    methods = set(project["entry-points"][registry.GROUP])
    assert set(pages()) == methods
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name, path in pages().items():
        assert path.read_text(encoding="utf-8").startswith(f"# {name}\n")
        assert f"({relative(path)})" in readme


def test_every_flag_of_a_method_is_on_its_page():
    """Nothing that a method alone can do is left untold."""
    for method, path in pages().items():
        text = path.read_text(encoding="utf-8")
        own = registry.get(method)
        for options in (
            own.predict_options,
            own.train_options,
            own.finetune_options,
            own.prepare_options,
        ):
            for name in getattr(options, "__dataclass_fields__", ()):
                assert f"`--{name.replace('_', '-')}" in text


def test_the_glossary_is_sorted_and_tells_each_word_once():
    """Entries stand in the order of the alphabet and are one sentence."""
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    terms = TERM.findall(text)
    words = [word.casefold() for word, _ in terms]
    assert len(words) == text.count("\n- ")
    assert words == sorted(set(words))
    for word, definition in terms:
        assert re.fullmatch(r"[A-Z][^.]*(\.\w[^.]*)*\.", definition), word


def test_the_glossary_has_the_words_of_the_contract():
    """What an author reads in the contract is explained."""
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    words = {word for word, _ in TERM.findall(text)}
    contract = {"footprint", "place", "request", "restorer", "weights", "method", "statistic"}
    geometry = set(Footprint.__dataclass_fields__) - {"multiple_of", "bump_sigma", "fit"}
    assert contract | geometry <= words

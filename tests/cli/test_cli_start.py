"""Starting the program loads little, and a broken plugin takes nothing down with it."""

from __future__ import annotations

import pytest

HEAVY = {
    "torch",
    "zarr",
    "numpy",
    "tifffile",
    "pooch",
    "scipy",
    "skimage",
    "safetensors",
    "yaozarrs",
}
WATCH = (
    "import sys\nfrom vemctl.__main__ import main\n"
    "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
    "print('\\nMODULES', *sys.modules)"
)


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["--help"], "Restore a volume with a published method."),
        (["predict", "--help"], "broken"),
        (["predict", "probe", "--help"], "How often; a [bracket] stays."),
        (["predict", "probe", "a", "b", "c"], ""),
        (["methods"], "probe"),
        (["info", "--help"], "FILE"),
        (["rerun", "--help"], "NEW_OUTPUT"),
        (["demo", "--help"], "FOLDER"),
        (["doctor", "--help"], "--json"),
        (["weights", "--help"], "unpack"),
        (["weights", "list"], "denoise/supervised"),
        (["train", "--help"], "METHOD [VOLUME]..."),
        (["train", "denoise", "--help"], "--self-supervised"),
        (["finetune", "denoise", "--help"], "--weights"),
    ],
)
def test_nothing_heavy_is_loaded(fresh, words, shown):
    """Help and mistakes need no torch, no numpy and no file formats."""
    ran = fresh("-c", WATCH, *words)
    text, _, modules = ran.out.partition("MODULES")
    assert shown in text
    assert not HEAVY & set(modules.split()), ran.err


def test_only_the_method_that_is_named_is_loaded(fresh):
    """Listing methods loads no plugin; naming one loads that one."""
    loaded = fresh("-c", WATCH, "predict", "--help").out.partition("MODULES")[2].split()
    assert not {"vemctl_probe", "vemctl_clash"} & set(loaded)
    loaded = fresh("-c", WATCH, "predict", "probe", "--help").out.partition("MODULES")[2].split()
    assert "vemctl_probe" in loaded
    assert "vemctl_clash" not in loaded


def test_the_help_of_a_method_has_its_panels_in_order(cli):
    """Panels stand in the order of the work, the method's own last, examples at the end."""
    out = cli("predict", "probe", "--help").out
    panels = [
        "Arguments",
        "Input",
        "Output",
        "Tiling",
        "Compute",
        "Run control",
        "Method",
        "Network",
    ]
    places = [out.index(f"─ {panel} ─") for panel in panels]
    assert places == sorted(places)
    assert "vemctl predict probe view_a.tif restored.zarr --view-b view_b.tif" in out
    assert max(map(len, out.splitlines())) <= 100


def test_the_help_of_a_method_tells_ranges_choices_and_defaults(cli):
    """A flag shows what it takes."""
    out = " ".join(cli("predict", "probe", "--help").out.split())
    for words in ("INT [1<=x<=9]", "fast|fine", "[default: 1,8,8]", "[required]", "--no-sharpen"):
        assert words in out
    assert "Usage: vemctl predict probe [OPTIONS] VIEW_A OUTPUT" in out


@pytest.mark.parametrize(
    ("shell", "line", "offered"),
    [
        ("bash", "vemctl pre", ["predict"]),
        ("bash", "vemctl predict pro", ["probe"]),
        ("bash", "vemctl predict probe --tif", ["--tiff-format"]),
        ("bash", "vemctl predict probe --mode ", ["fast", "fine"]),
        ("bash", "vemctl predict probe -w ", ["probe/one"]),
        ("bash", "vemctl predict broken --ti", []),
        ("zsh", "vemctl predict pro", ["probe"]),
        ("zsh", "vemctl predict probe --mode ", ["fast", "fine"]),
    ],
)
def test_the_shell_completes(fresh, shell, line, offered):
    """Commands, methods, flags, choices and weights complete, without loading anything heavy."""
    words = line.split(" ")
    environment = {
        "_VEMCTL_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
        "_TYPER_COMPLETE_ARGS": line,
    }
    ran = fresh("-c", WATCH, **environment)
    text, _, modules = ran.out.partition("MODULES")
    for word in offered:
        assert word in text
    assert not HEAVY & set(modules.split())
    assert "Traceback" not in ran.err

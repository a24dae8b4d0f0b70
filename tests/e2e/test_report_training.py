"""The report of a training run tells what was learned from, how, and how it went."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import pytest

from e2e.report_files import write_run
from vemctl.errors import InputError, OptionError, OutputError
from vemctl.training import run_folder
from vemctl.workflows.report import MOST_BYTES, report


def text_of(path: Path) -> str:
    """Return what is read in a page."""
    page = path.read_text("utf-8")
    page = re.sub(r"<(style|script)>.*?</\1>", " ", page, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())


def test_report_has_all_that_a_run_holds(tmp_path):
    """Options beside their defaults, data, curves, validations, previews, warnings, the end."""
    run = write_run(tmp_path / "a & <b>", best=30, from_zero=True)
    place = report(run)
    page, text = place.read_text(), text_of(place)

    assert place == run / "report.html"
    assert "Training of denoise: a & <b>" in text
    assert "ended: all steps are done" in text
    assert "of step 30: val_psnr 19.5, val_loss 0.25" in text
    assert "Warning: a volume is <odd>" in text
    assert 'a <noisy> & "large" one.tif 9 \N{MULTIPLICATION SIGN} 256' in text
    assert "--patch 3,48,48" in text
    assert "--learning-rate 0.0002 0.0002" in text
    assert "val_psnr 15 19.5 +4.5" in text
    assert "30 19.5 0.25 best weights" in text
    assert page.count("<svg role") == 4
    assert page.count("data:image/png;base64,") == 5
    assert "What the validation of step 10 saw" in page
    assert len(page) < MOST_BYTES


@pytest.mark.parametrize(
    ("lines", "state"),
    [
        (["step 3/40: loss 1", "ended after step 3: stopped"], "ended: stopped"),
        (["ended after step 3: stopped", "step 4/40: loss 1"], "unfinished"),
        (["step 4/40: loss 1"], "unfinished"),
        (
            ["ended after step 9: all steps are done; best val_loss 0.1 at step 4"],
            "ended: all steps are done",
        ),
    ],
)
def test_state_is_that_of_the_last_process(tmp_path, lines, state):
    """A run that went on after it had ended is not finished."""
    run = write_run(tmp_path / "run", steps=4, every=2, ended=False)
    dated = [f"2026-01-01 00:00:00+0000 {line}\n" for line in lines]
    (run / run_folder.LOG).write_text("".join(dated))

    assert f"State {state}" in text_of(report(run))


def test_a_run_that_has_just_begun_has_a_report(tmp_path):
    """Without a step, a log or a preview the page says so."""
    run = tmp_path / "run"
    run_folder.create(run, {"method": "unheard-of", "options": {}, "data": {}})
    text = text_of(report(run))

    assert "unfinished: no step is recorded yet" in text
    assert "No step is recorded yet." in text
    assert "The run was not validated" in text
    assert "The run has no previews." in text


def test_damaged_previews_are_passed_over(tmp_path):
    """What cannot be shown does not end the report."""
    run = write_run(tmp_path / "run")
    run_folder.preview_path(run, 20).write_bytes(b"no image")

    assert report(run).read_text().count("data:image/png") == 3


def test_values_that_are_no_numbers_leave_gaps(tmp_path):
    """NaN of a training that ran away is neither drawn nor a reason to fail."""
    run = write_run(tmp_path / "run")
    path = run / run_folder.METRICS
    rows = path.read_text().splitlines()
    rows[5] = re.sub(r"^(\d+),[^,]*", r"\1,nan", rows[5])
    path.write_text("\n".join(rows) + "\n41,torn")
    page = report(run).read_text()

    assert page.count('<polyline class="curve curve-1"') == 5
    assert not re.search(r'(points|cx|cy|d)="[^"]*nan', page)


def test_long_runs_have_small_reports(tmp_path):
    """Many steps, many columns and many large previews stay below 5 MB, and what is left out is."""
    run = write_run(tmp_path / "run", steps=30, every=1, size=300)
    header = "step," + ",".join(f"loss_{n}" for n in range(30)) + ",val_a"
    rows = [f"{n}," + ",".join([str(1 + n % 7)] * 30) + f",{n}" for n in range(1, 5_001)]
    (run / run_folder.METRICS).write_text("\n".join([header, *rows]) + "\n")
    (run / run_folder.LOG).write_text(
        "".join(f"2026-01-01 00:00:00+0000 warning: number {n}\n" for n in range(500))
    )
    place = report(run)
    text = text_of(place)

    assert place.stat().st_size < MOST_BYTES
    assert "24 of 30 previews are shown." in text
    assert "What validations found: 60 of 5000, spread evenly" in text
    assert "and 440 more in log.txt" in text


def test_changes_of_a_continued_run_are_told(tmp_path):
    """What was changed, and from which step on."""
    run = write_run(tmp_path / "run")
    path = run / "run.json"
    change = {"step": 20, "what": "options.method.patch", "from": [3, 48, 48], "to": None}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"changes": [change]}))

    times = " \N{MULTIPLICATION SIGN} "
    assert f"20 options.method.patch 3{times}48{times}48 \N{EN DASH}" in text_of(report(run))


def test_earlier_reports_are_replaced_and_other_files_are_not(tmp_path):
    """Only a page of ours, or what --overwrite allows, is written over."""
    run = write_run(tmp_path / "run")
    place = tmp_path / "page.html"
    assert report(run, place) == place
    assert report(run, place) == place

    place.write_text("<p>mine</p>")
    with pytest.raises(OutputError, match="exists and is no report of vemctl; pass --overwrite"):
        report(run, place)
    assert place.read_text() == "<p>mine</p>"
    report(run, place, overwrite=True)
    assert "Training of denoise" in place.read_text()
    with pytest.raises(OutputError, match=r"expected a name that ends with \.html"):
        report(run, tmp_path / "volume.tif", overwrite=True)
    with pytest.raises(OutputError, match="a folder"):
        report(run, _folder(tmp_path / "folder.html"))
    with pytest.raises(OutputError, match=r"the folder .*nodir does not exist; make it, or choose"):
        report(run, tmp_path / "nodir" / "page.html")
    assert not (tmp_path / "nodir").exists()


def test_damaged_runs_are_refused_in_one_line(tmp_path):
    """Nothing is written, and the reason is named."""
    run = write_run(tmp_path / "run")
    (run / run_folder.METRICS).write_text("a,b\n")
    with pytest.raises(InputError, match="its first column is not 'step'"):
        report(run)
    (run / "run.json").write_text("{")
    with pytest.raises(InputError, match="damaged"):
        report(run)
    assert not (run / "report.html").exists()


@pytest.mark.parametrize(
    "changed",
    [
        {"data": []},
        {"data": {"volumes": {"noisy": [{"shape": ["9", 256]}]}}},
        {"data": {"volumes": {"noisy": ["a.tif"]}}},
        {"data": {"weights": [{"path": "a.pth"}]}},
        {"data": {"files": {"noise": "a.npy"}}},
        {"options": {"method": [1]}},
        {"options": "all"},
        {"changes": ["patch"]},
        {"versions": 1},
        {"command": {}},
    ],
    ids=str,
)
def test_descriptions_of_the_wrong_kind_are_refused_in_one_line(tmp_path, changed):
    """The key is named, and nothing is written."""
    run = write_run(tmp_path / "run", steps=2, every=1)
    path = run / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    with pytest.raises(InputError, match=f"run.json: damaged: .*{next(iter(changed))}") as told:
        report(run)

    assert "\n" not in str(told.value)
    assert not (run / "report.html").exists()


def test_keys_that_are_null_are_not_recorded(tmp_path):
    """As if they were not there."""
    run = write_run(tmp_path / "run", steps=2, every=1)
    path = run / "run.json"
    keys = ("command", "options", "data", "versions", "changes", "device", "seed", "id")
    described = json.loads(path.read_text()) | dict.fromkeys(keys, None) | {"changes": []}
    path.write_text(json.dumps(described))

    assert "Command vemctl train denoise" in text_of(report(run))


def test_a_run_has_neither_channels_nor_time_points(tmp_path):
    """To ask for one is refused."""
    run = write_run(tmp_path / "run", steps=2, every=1)
    for chosen in ({"channel": 0}, {"timepoint": 5}):
        ((name, value),) = chosen.items()
        with pytest.raises(OptionError, match=f"^--{name} {value}: .* which has no {name}s"):
            report(run, **chosen)


def _folder(path: Path) -> Path:
    path.mkdir()
    return path

"""The boundary at which errors become one line and an exit code."""

from __future__ import annotations

import signal

import pytest

from vemctl import __version__
from vemctl.errors import InputError, Interrupted

PREDICT = ("predict", "probe", "a.tif", "--view-b", "b.tif", "out.zarr", "--rounds", "3")


def test_an_error_of_the_users_is_one_line(cli, workflow):
    """An error that the user can mend is one line without a traceback, exit code 2."""
    workflow.error = InputError("a.tif: damaged\n   at page 3")
    ran = cli(*PREDICT)
    assert ran.code == 2
    assert ran.err.splitlines()[-1] == "error: a.tif: damaged at page 3"
    assert "Traceback" not in ran.err


def test_verbose_shows_where_an_error_came_from(cli, workflow):
    """With -v the traceback stands before the line."""
    workflow.error = InputError("damaged")
    ran = cli(*PREDICT, "-v")
    assert "Traceback" in ran.err
    assert ran.err.endswith("error: damaged\n")


def test_quiet_still_shows_errors(cli, workflow):
    """With -q the error is all that is told."""
    workflow.error = InputError("damaged")
    assert cli(*PREDICT, "-q").err == "error: damaged\n"


def test_an_interrupted_run_tells_how_to_go_on(cli, workflow):
    """An interruption has its own exit code and message."""
    workflow.error = Interrupted("stopped after 3 of 9 blocks; --resume continues")
    ran = cli(*PREDICT, "-q")
    assert (ran.code, ran.err) == (130, "stopped after 3 of 9 blocks; --resume continues\n")


def test_a_second_interruption_ends_at_once(cli, workflow):
    """KeyboardInterrupt ends with the same exit code, without a traceback."""
    workflow.error = KeyboardInterrupt()
    ran = cli(*PREDICT, "-q")
    assert (ran.code, ran.err) == (130, "interrupted\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_asks_the_run_to_stop(cli, workflow, number):
    """Ctrl-C and SIGTERM set the event that stops a run where it can be resumed."""
    before = signal.getsignal(number)
    workflow.signal = number
    ran = cli(*PREDICT)
    assert ran.code == 130
    assert f"{number.name}: stopping where the run can be resumed" in ran.err
    assert signal.getsignal(number) == before


def test_a_bug_shows_its_traceback(cli, workflow):
    """Whatever else is raised is ours: a traceback, a line that says so, exit code 1."""
    workflow.error = ZeroDivisionError("by nothing")
    ran = cli(*PREDICT)
    assert ran.code == 1
    assert "ZeroDivisionError: by nothing" in ran.err
    assert "this is a bug in vemctl" in ran.err.splitlines()[-1]


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["predct"], "error: No such command 'predct'. Did you mean 'predict'? See"),
        (["predict", "prob"], "error: No such method 'prob'. Did you mean 'probe'? Installed: "),
        (["--versio"], "--version"),
        (["predict", "broken"], "does not load: ModuleNotFoundError: No module named 'no_such"),
        (["predict", "twin"], "brought by vemctl-twin-a 0.1 and vemctl-twin-b 0.1: uninstall one"),
    ],
)
def test_what_is_not_there_is_one_line(cli, words, answer):
    """Unknown commands, methods and flags, and broken plugins, are told in one line."""
    ran = cli(*words)
    assert ran.code == 2
    assert answer in ran.err
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize("flag", ["--version", "-V"])
def test_the_version_is_told_quickly(fresh, flag):
    """The version needs neither Typer nor rich."""
    code = f"import sys, vemctl.__main__ as m; m.main(['{flag}']); print(*sys.modules)"
    out = fresh("-c", code).out
    assert out.startswith(f"vemctl {__version__}\n")
    assert not {"typer", "rich"} & set(out.split())


def test_nobody_listening_is_no_error(fresh):
    """A closed pipe ends the program quietly."""
    code = "import sys; from vemctl.__main__ import main; sys.exit(main(['methods', '--json']))"
    shell = (
        "import subprocess, sys\n"
        "process = subprocess.Popen([sys.executable, '-c', sys.argv[1]], stdout=subprocess.PIPE)\n"
        "process.stdout.close()\nsys.exit(process.wait())"
    )
    ran = fresh("-c", shell, code)
    assert (ran.code, ran.err) == (1, "")


def test_the_module_runs(fresh):
    """`python -m vemctl` is the same program."""
    assert fresh("-m", "vemctl", "predct").code == 2

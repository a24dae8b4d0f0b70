"""The entry of the command line, and the boundary at which errors become exit codes."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code.

    Parameters
    ----------
    arguments : sequence of str, optional
        Without the program's name; the process' own by default.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words in (["--version"], ["-V"]):
        from vemctl import __version__

        print(f"vemctl {__version__}")
        return 0
    try:
        code = _run(words)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has gone; nothing is left to be said to anybody.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except KeyboardInterrupt:
        # While Typer was imported; from then on it makes an Abort of this.
        from vemctl.errors import Interrupted

        code = _say("interrupted", Interrupted.exit_code)
    if arguments is None:
        _prepare_to_end()
    return code


def _prepare_to_end() -> None:
    """Let the process end at once and in silence, whatever was under way."""
    # Another Ctrl-C would be a traceback from within the interpreter's end.
    with contextlib.suppress(ValueError):  # not in the main thread
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    if "zarr" in sys.modules:
        from vemctl.volumes.pending_reads import abandon_reads

        abandon_reads()


def _run(words: list[str]) -> int:
    import typer

    from vemctl.cli.app import app
    from vemctl.errors import Interrupted, VemctlError

    # Typer carries its own click and exports of its usage errors only this leaf.
    usage_error: Any = typer.BadParameter.__base__
    try:
        command = typer.main.get_command(app)
        code = command.main(words, prog_name="vemctl", standalone_mode=False)
    except usage_error as error:
        return _usage(error)
    except VemctlError as error:
        return _say(f"error: {error}", error.exit_code)
    except Interrupted as stop:
        return _say(str(stop), stop.exit_code)
    except typer.Abort:
        return _say("interrupted", Interrupted.exit_code)
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.filename is None:
            return _bug(error)
        cure = "check the path, its permissions and the disk"
        return _say(f"error: {error.filename}: {error.strerror}; {cure}", VemctlError.exit_code)
    except Exception as error:  # noqa: BLE001 - this is the boundary
        return _bug(error)
    if code == Interrupted.exit_code:
        return _say("interrupted", code)
    return code if isinstance(code, int) else 0


def _usage(error: Any) -> int:
    # Without arguments a group prints its help, which click calls an error without a text.
    if type(error).__name__ == "NoArgsIsHelpError":
        return int(error.exit_code)
    text = error.format_message()
    text += "" if text.endswith((".", "?")) else "."
    path = error.ctx.command_path if error.ctx else "vemctl"
    return _say(f"error: {text} See '{path} --help'", int(error.exit_code))


def _say(text: str, code: int) -> int:
    print(" ".join(text.split()), file=sys.stderr)
    return code


def _bug(error: Exception) -> int:
    import traceback

    from vemctl import __version__

    traceback.print_exception(error)
    return _say(
        f"error: this is a bug in vemctl {__version__}; please report it with the lines above", 1
    )


if __name__ == "__main__":
    sys.exit(main())

"""How a command ends: its exit code and what it says."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from prewrite.base.cli import ending
from prewrite.base.console import PlainConsole
from prewrite.base.errors import ConfigError, EngineError, InputError, Interrupted, ShardError
from prewrite.base.files import Folder


def raising(error: BaseException) -> Callable[[], None]:
    def main() -> None:
        raise error

    return main


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ConfigError("a\nb"), 2, "error: a\nerror: b\n"),
        (InputError("a"), 1, "error: a\n"),
        (EngineError("a"), 1, "error: a\n"),
        (ShardError("a"), 1, "error: a\n"),
        (Interrupted("stopped"), 130, "stopped\n"),
        (KeyboardInterrupt(), 130, "interrupted; the same command continues\n"),
        (MemoryError("for 2 TiB"), 1, "error: not enough memory: for 2 TiB\n"),
        (MemoryError(), 1, "error: not enough memory: no more can be had\n"),
        (OSError(28, "No space left on device"), 1, "error: No space left on device\n"),
    ],
)
def test_an_error_becomes_its_sentence_and_its_code(
    error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ending(raising(error)) == code
    assert capsys.readouterr() == ("", said)


def test_success_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    assert ending(lambda: None) == 0
    assert capsys.readouterr() == ("", "")


def test_a_bug_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        ending(raising(ZeroDivisionError()))
    with pytest.raises(OSError, match="a library's own"):
        ending(raising(OSError("a library's own")))


def test_an_output_that_cannot_be_written_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_bytes(b"")
    folder = Folder(f"{tmp_path}/file/set")
    assert ending(lambda: folder.write("a", b"x")) == 1
    assert (
        capsys.readouterr().err == f"error: {tmp_path}/file/set/a: cannot write: Not a directory\n"
    )


HOSTILE = (
    "\x1b]0;t\x07\x1b[2J\x9b31m\u202e\u2066[bold red]x[/bold red][/y][link=http://e]l[/link]:cat:"
)


def test_a_console_shows_and_does_not_obey(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("a", HOSTILE, title=HOSTILE)
    table.add_row(HOSTILE, Text(HOSTILE))
    console = PlainConsole(width=400, force_terminal=True, color_system="truecolor")
    for one in (HOSTILE, Text(HOSTILE), table, Panel(HOSTILE, title=Text(HOSTILE))):
        console.print(one)
    said = capsys.readouterr().out
    assert not re.findall("\x1b]|\x1b\\[2J|[\x9b\u202e\u2066\x07]", said)
    assert said.count("[bold red]x[/bold red][/y][link=http://e]l[/link]:cat:") >= 5  # titles wrap


def test_an_error_sentence_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert ending(raising(InputError(f"a{HOSTILE}"))) == 1
    said = capsys.readouterr().err
    assert "[bold red]x[/bold red][/y]" in said
    assert said.replace("\n", "").isprintable()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_that_is_not_utf8(encoding: str) -> None:
    code = (
        "from prewrite.base.cli import console, ending\nfrom rich.table import Table\n"
        "def main():\n    t = Table('·', '–')\n    t.add_row('é中', '…')\n"
        "    console.print(t)\n    print('a · b – 中')\n"
        "raise SystemExit(ending(main))"
    )
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(b"a ") and done.stdout.endswith(b" ?\n")

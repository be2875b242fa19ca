"""How a command ends: its exit code and what it says."""

from collections.abc import Callable
from pathlib import Path

import pytest

from base.cli import ending
from base.errors import ConfigError, EngineError, InputError, Interrupted, ShardError
from base.files import Folder


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

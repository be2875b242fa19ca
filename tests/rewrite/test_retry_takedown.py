"""A takedown beside `--retry-failed`: after one that was interrupted, and before one."""

from pathlib import Path

import pytest

from prewrite.shards import names
from prewrite.shards.takedown import remove
from prewrite.shards.verify import verify
from tests.commands import shards
from tests.engine.fault_server import Fault, FaultServer
from tests.rewrite.flaky import asked, holes, rows, uneven
from tests.rewrite.test_retry import again, config, made, server

__all__ = ["config", "made", "server"]  # fixtures


def whole(url: Path) -> None:
    """Both sets are whole."""
    for one in (url, url / names.REWRITES):
        assert verify(str(one))["problems"] == []


def of(url: Path, text: str) -> set[str]:
    """The documents with a text."""
    return {row["doc_id"] for row in rows(url).values() if text in row["original"]}


def test_a_takedown_waits_for_a_retry_that_was_interrupted(
    config: Path, server: FaultServer, capsys: pytest.CaptureFixture[str]
) -> None:
    out = config.parent / "set"
    (failed,) = of(out, "Document 3 of file 0")
    server.plan = lambda call: Fault(401) if call.number > 1 else None
    assert again(config) == 1
    capsys.readouterr()
    assert shards(["remove", str(out), "--doc-id", failed]) == 1
    assert "that are being asked again; run the command with --retry-f" in capsys.readouterr().err
    server.plan = uneven
    assert again(config) == 0
    assert shards(["remove", str(out), "--doc-id", failed]) == 0
    assert not of(out, "Document 3 of file 0")
    whole(out)


def test_what_a_takedown_removed_is_not_asked_again(config: Path, server: FaultServer) -> None:
    """Whole parts go with their documents; what else failed is asked."""
    out = config.parent / "set"
    remove(str(out), sorted(of(out, "of file 0")))
    asked(server)
    assert again(config) == 0
    assert asked(server) == {"quality": 1, "safety": 1}
    assert not any(holes(row) for row in rows(out).values())
    assert not of(out, "of file 0")
    whole(out)


def test_a_set_without_rows_has_nothing_to_ask(
    config: Path, server: FaultServer, capsys: pytest.CaptureFixture[str]
) -> None:
    out = config.parent / "set"
    remove(str(out), sorted(of(out, "of file")))
    asked(server)
    assert again(config) == 0
    assert "nothing failed that can be asked again; nothing to do" in capsys.readouterr().out
    assert not asked(server) and not rows(out)
    whole(out)

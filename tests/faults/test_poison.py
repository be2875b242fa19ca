"""One document that kills the engine's process every time: it is found, the rest is done."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from prewrite.shards.reader import ShardSet
from tests.engine.fault_server import FaultServer
from tests.faults.runs import DOCUMENTS, FILES, Disturbed
from tests.pipeline.runs import assert_whole, ended

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

POISON = "Document 5 of file 1."


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as running:
        yield running


def check(run: Disturbed) -> None:
    """The document stands in its place with status failed; every other one is done."""
    assert_whole(run.output)
    manifest = ShardSet(run.output).manifest
    assert manifest.documents == FILES * DOCUMENTS
    rows = list(ShardSet(run.output).rows(["doc_id", "chunk", "original", "rewrite_status"]))
    failed = [row for row in rows if row["rewrite_status"] == "failed"]
    assert {row["doc_id"] for row in failed} == {"1.jsonl/5"}
    assert "".join(row["original"] for row in failed).startswith(POISON)
    names = list(dict.fromkeys(row["doc_id"] for row in rows))
    assert names == [f"{file}.jsonl/{n}" for file in range(FILES) for n in range(DOCUMENTS)]
    assert manifest.statuses == {"failed": len(failed), "ok": len(rows) - len(failed)}
    assert manifest.passes[-1].abandoned == ["1.jsonl/5"]
    assert manifest.passes[-1].counts["document:abandoned"] == 1


def test_workers_find_it_by_themselves(
    tmp_path: Path, server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEADLY", POISON)
    run = Disturbed(tmp_path, server, judge=False, workers=2)
    code, _, err = ended(run.start(module="tests.faults.deadly"), 300)
    assert code == 0, err
    check(run)
    died = ShardSet(run.output).manifest.passes[-1].counts["worker:died"]
    assert err.count("its worker died (SIGKILL); another one continues") == died <= 6


def test_processes_go_on_for_an_engine_that_died(
    tmp_path: Path, server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine of the one worker dies and its process does not: others find the document."""
    monkeypatch.setenv("DEADLY", POISON)
    monkeypatch.setenv("ENGINE_ONLY", "1")
    run = Disturbed(tmp_path, server, judge=False)
    code, _, err = ended(run.start(module="tests.faults.deadly"), 300)
    assert code == 0, err
    assert "the engine died; a process of its own continues" in err
    check(run)


def test_the_same_command_finds_it(
    tmp_path: Path, server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One worker dies with its command, until that suspects a document and outlives it."""
    monkeypatch.setenv("DEADLY", POISON)
    run = Disturbed(tmp_path, server, judge=False)
    for code in (-9, -9, 0):
        process = run.start(module="tests.faults.deadly")
        _, err = process.communicate(timeout=120)
        assert process.returncode == code, err
    assert "two runs died at one place; a process of its own continues" in err
    check(run)

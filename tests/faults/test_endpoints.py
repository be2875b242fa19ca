"""Answers that are none, through the whole command: what passes, what stays, what ends the run."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tenacity import wait_random

from prewrite.base.config import load
from prewrite.base.errors import EngineError
from prewrite.rewrite import command as main
from prewrite.rewrite.config import RewriteRecipe
from prewrite.shards import names
from prewrite.shards.reader import ShardSet
from tests.engine.fault_server import Call, Fault, FaultServer, Plan
from tests.faults.runs import Disturbed
from tests.pipeline.runs import assert_whole

pytestmark = pytest.mark.slow

FAULTS = {
    "500": Fault(500),
    "503": Fault(503, {"Retry-After": "0"}),
    "429": Fault(429, {"Retry-After": "1"}),
    "html": Fault(body=b"<html>Bad gateway</html>", headers={"Content-Type": "text/html"}),
    "half": Fault(cut=40),
    "half-json": Fault(body=b'{"id": "x", "choices": [{"ind'),
    "nothing": Fault(body=b""),
    "no-choice": Fault(edit=lambda answer: answer.update(choices=[])),
    "dropped": Fault(drop=True),
    "hanging": Fault(seconds=30),
}
VICTIM = "Document 3 of file 1."


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultServer]:
    """A server whose clients try again at once, not after half a second or more."""
    monkeypatch.setattr("prewrite.engine.endpoint._backoff", wait_random(0, 0.1))
    with FaultServer() as running:
        yield running


def go(run: Disturbed, retries: int) -> None:
    """The command in this process: nothing is killed here. Four seconds are a hang."""
    over = {"concurrency": 16, "timeout": 4, "retries": retries}
    main.run(
        load(RewriteRecipe, str(run.config), [f"engines.main.{k}={v}" for k, v in over.items()])
    )


@pytest.mark.parametrize("name", FAULTS)
def test_what_passes_costs_no_row(tmp_path: Path, server: FaultServer, name: str) -> None:
    """Some requests meet the fault, their retry an answer."""
    seen: set[str] = set()
    every = 40 if name == "hanging" else 7

    def plan(call: Call) -> Fault | None:
        again, number = call.text in seen, len(seen)
        seen.add(call.text)
        return FAULTS[name] if number % every == 0 and not again else None

    server.plan = plan
    run = Disturbed(tmp_path, server, judge=name == "500")
    go(run, retries=4)
    run.check()


@pytest.mark.parametrize("name", FAULTS)
def test_what_stays_is_a_failed_row(tmp_path: Path, server: FaultServer, name: str) -> None:
    """One document meets it every time; its rows fail and keep their place."""
    server.plan = lambda call: FAULTS[name] if VICTIM in call.text else None
    run = Disturbed(tmp_path, server, judge=False)
    go(run, retries=1)
    assert_whole(run.output)
    rows = list(ShardSet(run.output).rows(["doc_id", "rewrite", "rewrite_status"]))
    failed = [row for row in rows if row["rewrite_status"] != "ok"]
    assert {row["doc_id"] for row in failed} == {"1.jsonl/3"}
    assert {(row["rewrite"], row["rewrite_status"]) for row in failed} == {(None, "failed")}


def everything(name: str, after: int) -> Plan:
    return lambda call: FAULTS[name] if call.number >= after else None


@pytest.mark.parametrize("name", ["500", "429", "half-json", "dropped", "hanging"])
def test_an_outage_ends_the_run_and_fails_no_row(
    tmp_path: Path, server: FaultServer, name: str
) -> None:
    server.plan = everything(name, 60)
    run = Disturbed(tmp_path, server, judge=False)
    with pytest.raises(EngineError, match="the endpoint of echo: "):
        go(run, retries=1)
    records = [
        json.loads(path.read_text()) for path in Path(run.output).glob(f"{names.RECORDS}/0*.json")
    ]
    assert all("status:failed" not in record["counts"] for record in records)
    server.plan = None
    go(run, retries=1)
    run.check()

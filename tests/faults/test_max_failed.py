"""Runs in which nothing works, through the whole command: they say so, and can be gone on with."""

import html
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from prewrite.shards import names
from prewrite.shards.card import card
from prewrite.shards.failures import LONGEST_REASON, MOST
from prewrite.shards.manifest import Manifest, PassInfo
from prewrite.shards.reader import ShardSet
from tests.commands import rewrite as main
from tests.commands import shards as shards_main
from tests.engine.fault_server import Call, Fault, FaultServer
from tests.pipeline.runs import assert_whole, ended, recipe, start

pytestmark = pytest.mark.slow

PARAMETER = "Unsupported parameter: 'max_tokens' is not supported with this model."
ALLOWS = "rows that were asked about failed, more than run.max_failed"


def refused(message: str, status: int = 400) -> Fault:
    return Fault(status, body=json.dumps({"error": {"message": message}}).encode())


def number(call: Call) -> int:
    """Of the document that is asked about."""
    return int(call.text.rpartition("Note ")[2].split()[0])


class Run:
    """A recipe over short documents, one row each; `error`: what the last command said."""

    def __init__(
        self, folder: Path, server: FaultServer, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.folder, self.server, self.capsys = folder, server, capsys
        self.output, self.config, self.error = str(folder / "set"), folder / "r.yaml", ""

    def of(self, *files: int, judge: bool = False, **run: Any) -> "Run":
        """Files of so many documents; one request at a time, so that answers come in order."""
        corpus, first = self.folder / "corpus", 0
        corpus.mkdir()
        for name, count in enumerate(files):
            notes = (f"Note {first + n} says that the river runs by." for n in range(count))
            lines = "".join(json.dumps({"text": note}) + "\n" for note in notes)
            (corpus / f"{name}.jsonl").write_text(lines)
            first += count
        text = recipe(f"{corpus}/*.jsonl", self.output, self.server.url, judge=judge, **run)
        self.config.write_text(text.replace("concurrency: 4", "concurrency: 1"))
        return self

    def __call__(self, *overrides: str) -> int:
        """The command in this process: its exit code."""
        self.capsys.readouterr()
        code = main(["--config", str(self.config), *overrides])
        lines = self.capsys.readouterr().err.splitlines()
        self.error = "\n".join(line for line in lines if line.startswith("error: "))
        assert (code == 0) == (self.error == ""), lines
        return code

    def asked(self, *overrides: str) -> int:
        """Requests that the command makes, which must succeed."""
        before = len(self.server.calls)
        assert self(*overrides) == 0
        return len(self.server.calls) - before

    @property
    def made(self) -> PassInfo:
        return ShardSet(self.output).manifest.passes[-1]

    def column(self, name: str) -> list[Any]:
        parts = sorted(Path(self.output).glob("data/*.parquet"))
        return [value for part in parts for value in pq.read_table(part)[name].to_pylist()]

    def shown(self) -> str:
        """What `shards show` prints."""
        assert shards_main(["show", self.output]) == 0
        return self.capsys.readouterr().out


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as running:
        yield running


@pytest.fixture
def run(tmp_path: Path, server: FaultServer, capsys: pytest.CaptureFixture[str]) -> Run:
    return Run(tmp_path, server, capsys)


def test_a_trial_of_five_rows_that_the_server_refuses(run: Run, server: FaultServer) -> None:
    server.plan = lambda call: refused(PARAMETER)
    run.of(5)
    assert run() == 1
    reason = f"engine: HTTP 400: {PARAMETER}"
    assert (
        run.error == f"error: rewrite: 5 of 5 {ALLOWS} = 0.9 allows; most often (5 times): {reason}"
    )
    assert ShardSet(run.output).manifest.status == "interrupted"
    assert run.column("rewrite_reason") == [reason] * 5
    assert (run.made.asked, run.made.failed) == (5, 5)
    assert {name: found.count for name, found in run.made.failures.items()} == {reason: 5}
    assert PARAMETER[:30] in run.shown()
    server.plan = None
    assert run.asked() == 5, "the same command asks again once the server is mended"
    assert_whole(run.output)
    assert run.column("rewrite_status") == ["ok"] * 5
    assert run.column("rewrite_reason") == [None] * 5
    assert (run.made.asked, run.made.failed, run.made.failures) == (5, 0, {})


def test_a_judge_of_whom_every_verdict_is_null(run: Run, server: FaultServer) -> None:
    """The engine has rewritten before, so it is not at fault that everything is refused."""
    server.plan = lambda call: refused("at most 5") if call.body.get("logprobs") else None
    run.of(12, judge=True)
    assert run() == 1
    assert f"judge: 12 of 12 {ALLOWS} = 0.9 allows; most often (" in run.error
    assert run.error.endswith("engine: HTTP 400: at most 5")
    manifest = ShardSet(run.output).manifest
    assert manifest.status == "interrupted"
    assert [(one.name, one.asked, one.failed) for one in manifest.passes] == [
        ("rewrite", 12, 0),
        ("judge", 12, 12),
    ]
    assert manifest.passes[-1].counts["verdict:failed"] == sum(
        found.count for found in manifest.passes[-1].failures.values()
    )
    server.plan = None
    rewrites = sum(not call.body.get("logprobs") for call in server.calls)
    assert run() == 0
    assert rewrites == sum(not call.body.get("logprobs") for call in server.calls)
    assert_whole(run.output)
    assert None not in run.column("original_score")


def test_a_judge_of_whom_every_verdict_on_one_criterion_is_null(
    run: Run, server: FaultServer
) -> None:
    """Then every total is null as well."""
    server.plan = lambda call: (
        refused("not on safety") if call.body.get("logprobs") and "safe" in call.text else None
    )
    run.of(12, judge=True)
    assert run() == 1
    assert f"judge: 12 of 12 {ALLOWS} = 0.9 allows; most often (24 times): engine: " in run.error
    assert run.error.endswith("not on safety")
    assert ShardSet(run.output).manifest.status == "interrupted"
    assert run("run.max_failed=1.0") == 0
    assert (run.made.asked, run.made.failed) == (12, 12)
    server.plan = None
    assert run.asked("--retry-failed") == 24
    assert (run.made.asked, run.made.failed) == (12, 0)
    assert None not in run.column("original_score")
    assert_whole(run.output)


@pytest.mark.parametrize(
    "name",
    ["README.md", names.CARD, f"{names.RECORDS}/notes.txt", names.JUDGEMENTS, names.RECORDS],
)
def test_files_of_others_are_refused_before_anything_is_asked(
    run: Run, server: FaultServer, name: str
) -> None:
    run.of(3, judge=True)
    mine = Path(run.output, name)
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    assert run() == 1
    assert "which no shard set here has written" in run.error
    assert (mine.read_text(), server.calls) == ("mine", [])


def every(per_hundred: int) -> Callable[[Call], Fault | None]:
    """So many of any hundred documents fail, evenly."""
    return lambda call: refused("no") if number(call) * 37 % 100 < per_hundred else None


def test_91_of_100_end_the_run_early(run: Run, server: FaultServer) -> None:
    server.plan = every(91)
    run.of(200)
    assert run() == 1
    assert f"91 of 100 {ALLOWS}" in run.error
    assert len(server.calls) < 110
    assert not Path(run.output).exists(), "nothing was committed, so nothing is left"


def test_89_of_100_go_through(run: Run, server: FaultServer) -> None:
    server.plan = every(89)
    run.of(100)
    assert run() == 0
    assert (run.made.asked, run.made.failed) == (100, 89)
    assert run.made.failures["engine: HTTP 400: no"].count == 89
    assert_whole(run.output)


def test_a_limit_of_one_lets_everything_through(run: Run, server: FaultServer) -> None:
    """Also a run that has ended by the limit before, without asking anything again."""
    server.plan = lambda call: refused("no") if call.number else None
    run.of(12)
    assert run() == 1
    assert run.asked("run.max_failed=1.0") == 0
    assert ShardSet(run.output).manifest.statuses == {"failed": 11, "ok": 1}
    assert_whole(run.output)


def test_only_the_parts_that_failed_are_made_again(run: Run, server: FaultServer) -> None:
    server.plan = lambda call: refused("no") if 5 < number(call) < 44 else None
    run.of(60, rows_per_part=10)
    assert run("run.max_failed=0.6") == 1
    assert f"38 of 60 {ALLOWS} = 0.6" in run.error
    parts = {part.name: part.sha256 for part in ShardSet(run.output).parts}
    assert len(parts) == 6
    server.plan = None
    assert run.asked("run.max_failed=0.6") == 30
    after = {part.name: part.sha256 for part in ShardSet(run.output).parts}
    same = (name for name in after if parts.get(name) == after[name])
    # The first and the fifth part have four failed rows of ten, the last has none.
    assert sorted(same) == ["00000-00000", "00000-00004", "00000-00005"]
    assert ShardSet(run.output).manifest.statuses == {"failed": 8, "ok": 52}
    assert_whole(run.output)


def test_what_is_committed_counts_at_a_resume(run: Run, server: FaultServer) -> None:
    """The engine dies after 40 good rows; from then on all is refused, which the good ones make up
    for, and no row of theirs is asked about again.
    """
    server.plan = lambda call: Fault(401) if call.number == 40 else None
    run.of(150, rows_per_part=10)
    assert run() == 1 and "HTTP 401" in run.error
    server.plan = lambda call: refused("no")
    assert run.asked() < 130
    assert run.made.asked == 150 and 110 <= run.made.failed < 130
    assert_whole(run.output)


def test_two_workers(run: Run, server: FaultServer) -> None:
    """Each looks at the rows of all its tasks; the first that has seen enough ends the run."""
    server.plan = lambda call: refused("no") if number(call) % 20 else None
    run.of(*[55] * 4, workers=2, tasks=4, rows_per_part=30)
    code, _, err = ended(start(run.config, scratch=run.folder / "scratch"))
    assert code == 1
    line = err.splitlines()[-1]
    assert line.startswith("error: rewrite: 9") and f" of 100 {ALLOWS}" in line
    server.plan = None
    assert run("run.workers=1", "engines.main.concurrency=16") == 0
    assert ShardSet(run.output).manifest.statuses == {"ok": 220}
    assert_whole(run.output)


def test_two_workers_with_too_few_rows_each_are_looked_at_together(
    run: Run, server: FaultServer
) -> None:
    server.plan = lambda call: refused("no") if number(call) % 20 else None
    run.of(20, 20, tasks=2, rows_per_part=5)
    assert run() == 1
    assert f"error: rewrite: 38 of 40 {ALLOWS}" in run.error
    server.plan = None
    assert run() == 0
    assert ShardSet(run.output).manifest.statuses == {"ok": 40}


CHATTER = "Sure! Here is a better version, as you have asked for. " * 40


@pytest.mark.parametrize(
    ("answer", "status", "words"),
    [
        (CHATTER, "failed", "too_long; row "),
        ("", "empty", "no_text"),
        ("I'm sorry, but I can't assist with that.", "refused", "refusal; row "),
    ],
)
def test_answers_of_which_none_can_be_used(
    run: Run, server: FaultServer, answer: str, status: str, words: str
) -> None:
    def edit(completion: dict[str, Any]) -> None:
        completion["choices"][0]["message"]["content"] = answer

    server.plan = lambda call: Fault(edit=edit)
    run.of(6)
    assert run() == 1
    assert f"6 of 6 {ALLOWS} = 0.9 allows; most often (6 times): {words}" in run.error
    assert answer[:30] in run.error
    assert run.column("rewrite_status") == [status] * 6
    (found,) = run.made.failures.values()
    assert [one.answer for one in found.examples] == [answer[:500]] * 3


HOSTILE = "\x1b[31m[/red] <script>alert(1)</script> | `x` ${jndi} \r\n\u202e\ud800 " + "long " * 900


def test_hostile_words_of_a_server_harm_nothing(run: Run, server: FaultServer) -> None:
    server.plan = lambda call: refused(HOSTILE) if number(call) else None
    run.of(8)
    assert run() == 0
    (reason,) = run.made.failures
    assert len(reason) <= LONGEST_REASON and reason.isprintable()
    assert reason in run.column("rewrite_reason")
    out = run.shown()
    assert "<script>" in out and "\x1b" not in out and "\u202e" not in out
    page = Path(run.folder, "report.html")
    assert shards_main(["report", run.output, "--to", str(page)]) == 0
    text = page.read_text()
    assert "<script>alert" not in text and html.escape("<script>alert(1)") in text
    told = card(Manifest.load(ShardSet(run.output).folder))
    (line,) = [line for line in told.splitlines() if "HTTP 400" in line]
    assert line.endswith("` | 7 |") and line.replace("\\|", "").count("|") == 4
    assert line.count("`") == 4
    assert_whole(run.output)


def test_words_that_differ_in_every_row_are_few_in_the_set(run: Run, server: FaultServer) -> None:
    def plan(call: Call) -> Fault | None:
        n = number(call)
        return refused(f"request r{n}x of {n} tokens is too long") if n % 5 else None

    server.plan = plan
    run.of(100)
    assert run() == 0
    reason = "engine: HTTP 400: request # of # tokens is too long"
    assert {name: found.count for name, found in run.made.failures.items()} == {reason: 80}
    assert set(run.column("rewrite_reason")) == {None, reason}
    said = [one.answer for one in run.made.failures[reason].examples]
    assert said[0] == "HTTP 400: request r1x of 1 tokens is too long" and len(said) == 3
    assert len(set(run.column("rewrite_reason"))) <= MOST

"""A document that kills its worker is found, in few deaths, and no other one is blamed."""

import json
import random
from contextlib import suppress
from pathlib import Path

import pytest

from prewrite.base.errors import EngineDied, EngineError
from prewrite.pipeline.config import RunConfig
from prewrite.pipeline.passes import Document
from prewrite.pipeline.run import run_pass
from prewrite.pipeline.tasks import PassTasks
from prewrite.shards.manifest import Manifest, Opened
from prewrite.shards.reader import ShardSet
from prewrite.shards.verify import verify
from tests.pipeline.fake import InstantPass, owned

DOCUMENTS = 60


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two files of short documents, each with its number."""
    folder = tmp_path_factory.mktemp("texts")
    for name in ("a", "b"):
        lines = [json.dumps({"text": f"The document {name}{n}."}) for n in range(DOCUMENTS)]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    return folder


class Deadly(InstantPass):
    """A pass whose engine dies, again and again, on documents with these words."""

    def __init__(self, folder: Path, words: set[str], window: int = 16) -> None:
        super().__init__((f"{folder}/*.jsonl",), before=self._meet, window=window)
        self.words = words

    async def _meet(self, document: Document) -> None:
        text = "".join(row["original"] for row in document.rows)
        if any(f"{word}." in text for word in self.words):
            raise EngineDied("dead")


def deaths(job: Deadly, out: Path, rows: int = 10, most: int = 60, along: bool = False) -> int:
    """Workers that it takes to get through, each going on where the one before it died. along: the
    command dies with each.
    """
    splits = job.source.splits()
    begin(job, out)
    step = PassTasks(job, splits, owned(out), RunConfig(rows_per_part=rows))
    for count in range(most):
        if along:
            step = PassTasks(job, splits, owned(out), step.run_config)
        try:
            step.run(0)
            return count
        except EngineDied:
            pass
    raise AssertionError(f"not through after {most} deaths")


def begin(job: InstantPass, out: Path) -> None:
    """As the run does whose workers these are."""
    manifest, folder = job.begin(job.source.splits()), owned(out)
    manifest.owners = [folder.owner]
    manifest.save(folder)


def complete(folder: Path, out: Path) -> Manifest:
    manifest = run_pass(InstantPass((f"{folder}/*.jsonl",)), str(out), RunConfig())
    assert verify(str(out))["problems"] == []
    return manifest


@pytest.mark.parametrize("seed", range(6))
def test_what_kills_is_abandoned_and_nothing_else(texts: Path, tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    rows, window = draw.choice([1, 10, 1000]), draw.choice([1, 16, 500])
    numbers = {(draw.choice("ab"), draw.randrange(DOCUMENTS // 3)) for _ in range(seed % 4)}
    words, out = {f"{name}{3 * n}" for name, n in numbers}, tmp_path / "set"
    took = deaths(Deadly(texts, words, window), out, rows)
    assert took <= 8 * len(words)
    manifest = complete(texts, out)
    found = list(ShardSet(str(out)).rows(["doc_id", "original", "rewrite_status"]))
    assert "".join(row["original"] for row in found) == "".join(
        f"The document {name}{n}." for name in "ab" for n in range(DOCUMENTS)
    )
    failed = {row["doc_id"] for row in found if row["rewrite_status"] == "failed"}
    assert failed == {f"{word[0]}.jsonl/{word[1:]}" for word in words}
    counts = manifest.passes[-1].counts
    assert set(manifest.passes[-1].abandoned) == failed
    assert counts.get("document:abandoned", 0) == len(words)
    assert counts.get("worker:died", 0) == took


def test_a_death_or_two_blame_nobody(texts: Path, tmp_path: Path) -> None:
    """As when somebody kills the command, or memory runs out."""
    job, out = Deadly(texts, {"a20"}), tmp_path / "set"
    with pytest.raises(AssertionError, match="not through"):
        deaths(job, out, most=3)
    assert complete(texts, out).statuses == {"ok": 2 * DOCUMENTS}


def test_who_dies_with_the_command_is_not_blamed(texts: Path, tmp_path: Path) -> None:
    """A machine is switched off, again and again, whatever is open then."""
    draw, out = random.Random(0), tmp_path / "set"

    class Killed(InstantPass):
        """Gets as far as a few documents more."""

        left = 0

        async def meet(self, document: Document) -> None:
            self.left -= 1
            if self.left < 0:
                raise EngineDied("dead")

    job = Killed((f"{texts}/*.jsonl",))
    job.before, splits = job.meet, job.source.splits()
    begin(job, out)
    died = 0
    for _ in range(60):
        job.left = draw.choice([0, 0, 1, 3, 12])
        with suppress(EngineDied):
            PassTasks(job, splits, owned(out), RunConfig(rows_per_part=10)).run(0)
            break
        died += 1
    assert died > 10
    assert complete(texts, out).statuses == {"ok": 2 * DOCUMENTS}


def test_what_nobody_outlives_is_abandoned_in_the_end(texts: Path, tmp_path: Path) -> None:
    """Memory that runs out may take the command along each time."""
    job, out = Deadly(texts, {"a20"}), tmp_path / "set"
    assert 10 < deaths(job, out, along=True) < 16
    assert complete(texts, out).statuses == {"failed": 1, "ok": 2 * DOCUMENTS - 1}


def test_the_command_outlives_what_is_suspected(texts: Path, tmp_path: Path) -> None:
    """It is opened in a process of its own, and in no other task's."""
    job, out = Deadly(texts, {"a20"}), tmp_path / "set"
    with pytest.raises(AssertionError, match="not through"):
        deaths(job, out, rows=1000, most=1, along=True)
    splits, run = job.source.splits(), RunConfig(tasks=2)
    assert not PassTasks(job, splits, owned(out), run).has_suspected([0, 1])
    with pytest.raises(AssertionError, match="not through"):
        deaths(job, out, rows=1000, most=1, along=True)
    step = PassTasks(job, splits, owned(out), run)
    assert [step.has_suspected(ranks) for ranks in ([0, 1], [0], [1])] == [True, True, False]


def test_a_worker_that_could_say_so_did_not_die(texts: Path, tmp_path: Path) -> None:
    """An engine that cannot be reached is no document's fault, however often it is tried."""
    out, job = tmp_path / "set", InstantPass((f"{texts}/*.jsonl",))

    async def unreachable(document: Document) -> None:
        raise EngineError("nobody answers")

    splits = job.source.splits()
    begin(job, out)
    job.before = unreachable
    for _ in range(6):
        with pytest.raises(EngineError):
            PassTasks(job, splits, owned(out), RunConfig()).run(0)
    mark = Opened.model_validate_json((out / "_prewrite/commits/00000.open").read_bytes())
    assert mark == Opened(committed=0, stop=0, command=mark.command, turn=mark.turn)
    assert complete(texts, out).passes[-1].counts == {"status:ok": 2 * DOCUMENTS}


def test_three_in_a_row_are_no_fault_of_theirs(texts: Path, tmp_path: Path) -> None:
    job, out = Deadly(texts, {f"a{n}" for n in range(DOCUMENTS)}), tmp_path / "set"
    with pytest.raises(EngineError, match="3 documents in a row killed every worker"):
        deaths(job, out)
    assert complete(texts, out).statuses == {"failed": 2, "ok": 2 * DOCUMENTS - 2}

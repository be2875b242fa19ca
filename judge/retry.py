"""Ask again for the verdicts that failed, and about rewrites that have changed: nothing else.

A verdict holds that could be read (status `ok`) and speaks of the texts that are there now; what a
scored input knows holds, too. All other questions about a row are asked; where answers are sampled,
for as many votes as are missing, with a seed of the round. Scores are computed anew where a verdict
is new; every other score, and every verdict that holds, stays bit for bit.
"""

import itertools
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from prewrite.base.errors import ShardError
from prewrite.base.files import Folder
from prewrite.base.fingerprint import fingerprint, mixed
from prewrite.judge.config import JudgeConfig
from prewrite.judge.judge import CostedAnswer, Judge, load_judges
from prewrite.judge.panel import Panel
from prewrite.judge.passes import JudgePass, SetBlock, SetSource
from prewrite.judge.pool import Question, judgements
from prewrite.judge.recall import VerdictKey, key_of, key_of_row, verdict_of
from prewrite.judge.scorer import PoolScorer, PoolScores, RowScorer, store
from prewrite.pipeline.passes import Absent, Document, DocumentResult, End, Item, Split, Work
from prewrite.pipeline.retry import OfJob, round_of
from prewrite.shards.manifest import Manifest, Record, Usage
from prewrite.shards.reader import ShardSet
from prewrite.shards.schema import (
    TEXTS,
    Rewrites,
    Row,
    best_of,
    schema,
    stored_values,
    texts_of,
)


@dataclass
class Judged(Document):
    """A document of a scored set with the texts as they are now; `judgements`: verdicts that hold.

    known: verdicts that its input knows; changed: (row id, text) of rewrites that are others;
    updated: rows of which any column of the input is another; failed: verdicts that do not hold
    because they could not be read.
    """

    known: list[Row] = field(default_factory=list)
    changed: frozenset[tuple[str, str]] = frozenset()
    updated: int = 0
    failed: int = 0


@dataclass(frozen=True)
class JudgeAgain(OfJob):
    """Asks again what failed in the set at `url`, made by `job`; see `pipeline.retry.Again`."""

    job: JudgePass
    url: str
    remedy: str
    name: str = "judge"

    def begin(self, splits: list[Split]) -> Manifest:
        """The manifest of the input with the pass added."""
        return self.job.begin(splits)

    def follows(self, manifest: Manifest) -> bool:
        """Whether only the bytes of the input differ."""
        *before, made = manifest.passes
        if made.name != self.name or _bare(made.config) != _bare(self.identity()):
            return False
        now = ShardSet(self.job.url).manifest.passes
        return [_bare(one.config) for one in before] == [_bare(one.config) for one in now]

    def failed(self, counts: Mapping[str, int]) -> int:
        """Verdicts."""
        bad = (key for key in counts if key.startswith("verdict:") and key != "verdict:ok")
        return sum(counts[key] for key in bad)

    def wanted(self, record: Record) -> Counter[str]:
        """Failed verdicts, and rows whose texts have changed."""
        if not self.failed(record.counts) and not self._is_other(record):
            return Counter()
        found: Counter[str] = Counter()
        for document in self.documents(record):
            if isinstance(document, Judged):
                found["failed verdict"] += document.failed
                found["changed rewrite"] += document.updated
        return +found

    def read_of(self, record: Record) -> str:
        """The digest of the part of the input that is read now."""
        block = self._input.get(record.split)
        return block.known_as if block else record.read

    def documents(self, record: Record) -> Iterator[Judged | Absent]:
        """Those of the part, with the texts of the input. One that the input has no more stays as
        it is.
        """
        if record.part is None:
            return
        where = f"{self.url}/{record.part.file}"
        before = self._before.read(_split(record.part.name), 0)
        now: Iterable[Item | None] = itertools.repeat(None)
        if self._is_other(record):
            now = self._source.read(_split(record.split), record.start)
        rewrites = ShardSet(self.job.url).manifest.rewrites
        for old, new in zip(before, now, strict=False):  # other blocks may follow in the input
            if isinstance(old, End):
                return
            if isinstance(new, End):
                raise _other_rows(where)
            if isinstance(old, Absent):
                yield old
            elif isinstance(old, Document):
                yield _judged(old, new if isinstance(new, Document) else None, where, rewrites)

    @cached_property
    def _before(self) -> SetSource:
        return SetSource(self.url, frozenset(criterion.name for criterion in self.job.criteria))

    @cached_property
    def _source(self) -> SetSource:
        return self.job.source

    @cached_property
    def _input(self) -> dict[str, SetBlock]:
        """The parts of the input by split; none where they are those that the set was made of."""
        manifest, now = Manifest.load(Folder(self.url)), self.identity()["input"]
        if manifest.passes[-1].config["input"] == now:
            return {}
        ShardSet(self.job.url).finished()
        return self._source.blocks

    def _is_other(self, record: Record) -> bool:
        """Whether the part of the input that a record was made of may be another by now."""
        if not self._input or record.part is None:
            return False
        if record.split not in self._input:
            raise ShardError(
                f"{self.url}: found rows of the part {record.split}, which {self.job.url} does not "
                "have; accepted with --retry-failed: a set of the same parts; choose another output"
            )
        return record.read != self._input[record.split].known_as

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Work]:
        """Load the judges in this process."""
        judges = load_judges(self.job.judge, self.job.engines, self.job.criteria)
        texts = ShardSet(self.url).manifest.texts
        yield AgainScorer(judges, self.job.judge, round_of(self.url), texts)


def refuse_behind(job: JudgePass, output: str) -> None:
    """ShardError where the set at `output` is complete, but rows of its input were asked again."""
    found = Manifest.find(Folder(output))
    again = JudgeAgain(job, output, "")
    if not found or found.status != "complete" or not again.follows(found):
        return
    if found.passes[-1].fingerprint != fingerprint(again.identity()):
        raise ShardError(
            f"{output}: it was judged before the rows of {job.url} became others; run this command "
            "with --retry-failed, which asks about those rows"
        )


def _split(name: str) -> Split:
    return Split(name, name, 0)


def _bare(config: Mapping[str, Any]) -> dict[str, Any]:
    """A pass's configuration, without the bytes of an input that is a set."""
    read = config.get("input")
    if isinstance(read, dict) and "parts" in read:
        read = {key: value for key, value in read.items() if key not in ("parts", "fingerprint")}
    return {**config, "input": read}


def _judged(old: Document, new: Document | None, where: str, rewrites: Rewrites) -> Judged:
    """A document of the set, with the texts and the verdicts of the input where that is given."""
    rows, changed, updated = old.rows, set[tuple[str, str]](), 0
    if new:
        if [_place(row) for row in rows] != [_place(row) for row in new.rows]:
            raise _other_rows(where)
        names, texts = schema((), rewrites=rewrites).names, texts_of(rewrites)
        rows = [
            row | {name: now.get(name) for name in names}
            for row, now in zip(old.rows, new.rows, strict=True)
        ]
        pairs = list(zip(old.rows, rows, strict=True))
        changed = {(row["id"], t) for row, now in pairs for t in texts if row[t] != now[t]}
        updated = sum(row != now for row, now in pairs)
    return Judged(
        rows,
        old.offset,
        [v for v in old.judgements if _is_read(v) and not _speaks_of(v, changed)],
        known=[v for v in new.judgements if _is_read(v)] if new else [],
        changed=frozenset(changed),
        updated=updated,
        failed=sum(not _is_read(v) for v in old.judgements),
    )


def _place(row: Row) -> tuple[str, str]:
    return row["id"], row["original"]


def _is_read(verdict: Row) -> bool:
    return bool(verdict["status"] == "ok")


def _speaks_of(verdict: Row, changed: set[tuple[str, str]]) -> bool:
    """Whether a verdict is about a rewrite that is another by now."""
    texts = (verdict["candidate"], verdict["opponent"])
    return any((verdict["id"], text) in changed for text in texts)


def _other_rows(where: str) -> ShardError:
    return ShardError(
        f"{where}: found rows that are not those of the input; accepted with --retry-failed: the "
        "same rows with other rewrites; choose another output"
    )


class Known:
    """The verdicts on one document: those that hold, and as they come in, the new ones."""

    def __init__(self, document: Judged) -> None:
        self.rows: dict[VerdictKey, dict[int, Row]] = defaultdict(dict)
        self.new: set[tuple[str, str, str]] = set()
        for verdict in document.judgements:
            self.rows[key_of_row(verdict)][verdict["vote"]] = verdict
        for verdict in document.known:
            if verdict["vote"] not in self.rows[key_of_row(verdict)]:
                self.add(verdict)

    def add(self, verdict: Row) -> None:
        """Take a new one; `new` has the row, the criterion and the texts that it speaks of."""
        self.rows[key_of_row(verdict)][verdict["vote"]] = verdict
        for text in (verdict["candidate"], verdict["opponent"]):
            self.new.add((verdict["id"], verdict["criterion"], text))

    def of(self, judge: str | None, question: Question) -> list[Row]:
        """The verdicts on a question, by vote."""
        found = self.rows[key_of(judge, question)]
        return [found[vote] for vote in sorted(found)]

    def texts(self, row: str, criterion: str, among: Sequence[str]) -> set[str]:
        """Those about which there is a new verdict."""
        return {text for text in among if (row, criterion, text) in self.new}


class ByVotes:
    """A judge that can be asked for any number of votes, with the seed of a round."""

    def __init__(self, judge: Judge, number: int) -> None:
        self.judge, self._judges = judge, dict[tuple[int, int], Judge]()
        self._seed = mixed(judge.config.sampling.seed, number)

    def of(self, votes: int, held: int = 0) -> Judge:
        """The judge that gives so many; held: votes on the question that hold already."""
        judge, least = self.judge, max(1, self.judge.config.min_votes - held)
        if (votes, least) not in self._judges:
            config = judge.config.asking(least, votes=votes, seed=self._seed)
            self._judges[votes, least] = Judge(judge.name, judge.engine, config, judge.curves)
        return self._judges[votes, least]


class AgainJudge(Judge):
    """A judge that says again what it has said, and is asked for the rest."""

    def __init__(self, judges: ByVotes, known: Known) -> None:
        judge = judges.judge
        super().__init__(judge.name, judge.engine, judge.config, judge.curves)
        self._judges, self._verdicts = judges, known

    async def ask(self, question: Question, fence: str) -> CostedAnswer:
        """Verdicts, one a vote; the usage is that of what was asked."""
        there = {row["vote"] for row in self._verdicts.of(self.name, question)}
        votes = self.config.votes_on(question.criterion)
        missing = [vote for vote in range(votes) if vote not in there]
        usage = Usage()
        if missing:
            judge = self._judges.of(len(missing), len(there))
            verdicts, usage = await judge.ask(question, fence)
            rows = judgements(self.name, [(question, verdicts)])
            for vote, row in zip(missing, rows, strict=False):  # one for all where all have failed
                self._verdicts.add(row | {"vote": vote})
        curve, found = (
            self.curves.get(question.criterion.name),
            self._verdicts.of(self.name, question),
        )
        return [verdict_of(row, question).through(curve) for row in found], usage


class _Panel(Panel):
    """The same judges and functions, each of which says again what it has said."""

    def __init__(self, judges: Sequence[ByVotes], alone: ByVotes, known: Known) -> None:
        super().__init__([AgainJudge(one, known) for one in judges], alone.judge.config)
        self._without_engine = [AgainJudge(alone, known)]


class AgainScorer(RowScorer):
    """Work of a judge pass over a scored set: fills what is missing, and leaves the rest. number:
    of the round.
    """

    def __init__(
        self,
        judges: Sequence[Judge],
        config: JudgeConfig,
        number: int,
        texts: Sequence[str] = TEXTS,
    ) -> None:
        super().__init__(judges, config, texts)
        self._judges = [ByVotes(judge, number) for judge in judges]
        self._alone = ByVotes(Judge(None, None, config), number)

    async def __call__(self, document: Document) -> DocumentResult:
        """Fill the scores of every row for which there is a new verdict, or another rewrite."""
        assert isinstance(document, Judged)
        rows, known = document.rows, Known(document)
        panel = _Panel(self._judges, self._alone, known)
        scored = await self._scores(PoolScorer(panel, self.criteria), rows)
        verdicts = list[Row]()
        for row, one in zip(rows, scored, strict=True):
            changed = {text for name, text in document.changed if name == row["id"]}
            self._fill(row, one, known, changed)
            verdicts += _rows_of(one, known)
        return self._outcome(rows, verdicts, scored)

    def _fill(self, row: Row, scored: PoolScores, known: Known, changed: set[str]) -> None:
        """Put what is new into the columns of a row; all others keep their bits. changed: its texts
        that are others by now.
        """
        filled = set[str]()
        for criterion in self.criteria:
            texts = known.texts(row["id"], criterion.name, self.texts) | changed
            if not texts:
                continue
            if criterion.kind == "pairwise":
                texts = set(self.texts)
            store(row, criterion, scored.results(criterion), texts)
            filled |= texts
        values = stored_values(row, [c.name for c in self.criteria], self.texts)
        totals = self._scorer.totals(values, filled)
        row.update({f"{text}_score": totals.get(text) for text in filled})
        row["best"] = best_of(row, self.texts)


def _rows_of(scored: PoolScores, known: Known) -> Iterator[Row]:
    for said in scored.said.values():
        for judge, result in said.results.items():
            for question, _ in result.answers:
                yield from known.of(judge, question)

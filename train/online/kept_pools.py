"""Pools kept to be read and replayed: one in so many, as Markdown for people and as Parquet.

Which ones are kept depends on the sample's number, so it is the same on any number of ranks. A step
and rank makes one file of each kind, whole or not there, and a run that goes on from a checkpoint
takes back those of later steps. The Parquet file holds every group whole (tokens, log-probabilities
bit for bit) and the texts of its prompt, so `load` gives back what was learnt from, and a run can
learn from it once more without an engine. Each file has a check of what it holds and of the file of
its rank before it, and `rank-….json` has the check of the last: a file that is missing, or of
another run, is noticed.

Texts are hostile: in the Markdown each stands in a fence longer than any it holds, without
characters that a terminal would obey. Costs some 16 bytes a token
of the rollouts, two thirds of them in Parquet, and 4 ms to write a pool of 16 x 128.
"""

import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from prewrite.base.errors import ShardError
from prewrite.base.files import Folder
from prewrite.base.fingerprint import fingerprint
from prewrite.base.text import printable
from prewrite.train.messages import PromptKey, RolloutGroup, RolloutPrompt, rollout_name

Pools = Sequence[tuple[RolloutPrompt, RolloutGroup]]

_SHOWN = 2000
"""Characters of a prefix, its last ones, in the Markdown; Parquet has all of it."""

_CHECK, _BEFORE = "prewrite.pools", "prewrite.before"
_NAME = re.compile(r"step-(\d+)-rank-(\d+)\.(?:parquet|md)")
_LAST = re.compile(r"rank-(\d+)\.json")
_FIRST = ""
"""What the first file of a rank names as the check of the one before."""

_UNREADABLE = (pa.ArrowException, OSError, KeyError, ValueError)
_ALL = "accepted: all files that one run has kept, and no others"
_VALUES = pa.map_(pa.string(), pa.float64())
_ROLLOUT = pa.struct(
    [
        ("text", pa.string()),
        ("tokens", pa.list_(pa.int32())),
        ("logprobs", pa.list_(pa.float64())),
        ("ended", pa.bool_()),
    ]
)
_GROUP: dict[str, pa.DataType] = {
    "sample": pa.int64(),
    "id": pa.string(),
    "prompt": pa.string(),
    "version": pa.int64(),
    "rollouts": pa.list_(_ROLLOUT),
    "scores": _VALUES,
    "values": pa.map_(pa.string(), _VALUES),
    "counts": pa.map_(pa.string(), pa.int64()),
}
_PROMPT: dict[str, pa.DataType] = {
    "doc_id": pa.string(),
    "kind": pa.string(),
    "prefix": pa.string(),
    "original": pa.string(),
    "stored": pa.map_(pa.string(), pa.string()),
}
COLUMNS = pa.schema(_GROUP | _PROMPT)
"""One pool a row; docs/online.md says what each is."""


@dataclass(frozen=True)
class KeptPool:
    """A group, and what is kept of its prompt: the document; the kind of row, of a prompted task
    only; what the judge read before the texts; the reference; the stored texts that competed.
    """

    group: RolloutGroup
    doc_id: str
    kind: str | None
    prefix: str
    original: str
    stored: Mapping[str, str]

    @classmethod
    def of(cls, prompt: RolloutPrompt, group: RolloutGroup) -> "KeptPool":
        """The one of a prompt and its group."""
        pool, kind = prompt.pool, prompt.wanted.kind if prompt.wanted else None
        prefix = "".join(pool.context)
        return cls(group, prompt.doc_id, kind, prefix, pool.reference, {**pool.candidates})

    @property
    def row(self) -> dict[str, Any]:
        """It in the columns of a file."""
        known = {name: getattr(self, name) for name in _PROMPT}
        return self.group.model_dump(mode="json") | known


def kept(sample: int, every: int) -> bool:
    """Whether the pools of a sample are kept where one in `every` is; 0 keeps none."""
    return every > 0 and sample % every == 0


def write(folder: str | Folder, step: int, rank: int, pools: Pools) -> None:
    """Keep the pools of a step on one data parallel rank; nothing is written for none."""
    if not pools:
        return
    name, target = f"step-{step:08}-rank-{rank:05}", _opened(folder)
    before = _last(target, rank) or _FIRST
    rows = [KeptPool.of(*one).row for one in pools]
    digest = _digest(f"{name}.parquet", before, rows)
    columns = COLUMNS.with_metadata({_CHECK: digest, _BEFORE: before})
    table = pa.Table.from_pylist(rows, columns)
    stream = io.BytesIO()
    pq.write_table(table, stream, compression="zstd", write_page_checksum=True)
    target.write(f"{name}.md", readable(step, pools).encode())
    target.write(f"{name}.parquet", stream.getvalue())
    _write_last(target, rank, digest)


def keep_until(folder: str | Folder, step: int) -> None:
    """Take back the files of the steps after `step`, from which a run goes on."""
    target = _opened(folder)
    later = [(m, n) for n in target.names() if (m := _NAME.fullmatch(n)) and int(m[1]) > step]
    first = {int(m[2]): n for m, n in reversed(later) if n.endswith(".parquet")}
    for rank, name in first.items():
        # Not the check of the file that is the last now: one between the two may be missing.
        before = "unknown"
        with suppress(ShardError):
            _, before = _footer(target, name)
        _write_last(target, rank, before)
    for _, name in later:
        target.remove(name)


def check(folder: str) -> dict[str, str]:
    """The files of `folder`, each with the check of what it holds. ShardError in one sentence where
    there is none, or not all that one run has kept, as far as their footers say.
    """
    target, lasts, checks = Folder(folder), dict[int, str | None](), dict[int, list[str]]()
    found = dict[str, str]()
    for name in names(folder):
        match, (digest, before) = _NAME.fullmatch(name), _footer(target, name)
        assert match
        mine = checks.setdefault(int(match[2]), [_FIRST])
        if before != mine[-1]:
            raise ShardError(
                f"{folder}/{name}: found a file that does not follow the one before it: one is "
                f"missing, or of another run; {_ALL}"
            )
        mine.append(digest)
        found[name] = digest
    for name in target.names():
        if match := _LAST.fullmatch(name):
            lasts[int(match[1])] = _last(target, int(match[1]))
    for rank in checks.keys() | lasts.keys():
        # A run that was killed between two writes, or while it took files back, has left more.
        if lasts.get(rank) not in checks.get(rank, [_FIRST]):
            raise ShardError(
                f"{folder}/{_last_name(rank)}: not there, damaged, or of a file that is not there "
                f"or of another run; {_ALL}"
            )
    return found


def load(folder: str) -> dict[tuple[int, str], RolloutGroup]:
    """Every group kept in `folder`, by sample and row id; it stands in memory. ShardError in one
    sentence where there is none, one is missing, damaged or of another run, or one is there twice.
    """
    return {pool.group.key: pool.group for _, pool in each(folder, check(folder))}


def each(folder: str, files: Iterable[str]) -> Iterator[tuple[str, KeptPool]]:
    """The pools in these files of `folder`, each with its file; ShardError in one sentence where
    one is damaged, or there twice.
    """
    target, seen = Folder(folder), set[PromptKey]()
    for name in files:
        for pool in pools_of(target, name):
            key = pool.group.key
            if key in seen:
                raise ShardError(f"{folder}/{name}: sample {key[0]}, row {key[1]}: found twice")
            seen.add(key)
            yield name, pool


def names(folder: str) -> list[str]:
    """The files of `folder` that hold pools to replay; ShardError in one sentence for none."""
    found = [n for n in Folder(folder).names() if n.endswith(".parquet") and _NAME.fullmatch(n)]
    if not found:
        raise ShardError(
            f"{folder}: found no pools of rollouts; accepted: the folder that a run with "
            "train.rollouts.dump_every has kept them in"
        )
    return found


def readable(step: int, pools: Pools) -> str:
    """The pools as Markdown, the texts of each from the best score to the worst."""
    parts = [f"# Pools of step {step}"]
    for prompt, group in pools:
        parts += [f"## Sample {group.sample}", _fenced("\n".join(_facts(prompt, group)))]
        parts += ["### Prefix", _fenced("".join(prompt.pool.context)[-_SHOWN:])]
        if prompt.wanted and not prompt.pool.candidates:
            parts += ["### original", _fenced(prompt.pool.reference)]
        rollouts = {rollout_name(n): one.text for n, one in enumerate(group.rollouts)}
        texts = {**prompt.pool.candidates, **rollouts}
        for name in sorted(texts, key=lambda name: -group.scores.get(name, float("-inf"))):
            parts += [f"### {name}", _fenced(_told(group, name)), _fenced(texts[name])]
    return "\n\n".join(parts) + "\n"


def _facts(prompt: RolloutPrompt, group: RolloutGroup) -> Iterator[str]:
    yield f"row {group.id}"
    if wanted := prompt.wanted:
        label = f": label {wanted.label:g} of what stands first" if wanted.criterion else ""
        yield f"kind of row {wanted.kind}{label}"
    yield f"weights of step {group.version}"
    for name, count in group.counts.items():
        yield f"{name} {count}"


def _told(group: RolloutGroup, name: str) -> str:
    """The score of a text, and what it comes from."""
    score = f"score {group.scores[name]:.4f}" if name in group.scores else "no score"
    values = (f"{c} {some[name]:.4f}" for c, some in group.values.items() if name in some)
    return "\n".join([score, *values])


def _fenced(text: str) -> str:
    fence = "`" * max([3, *(len(run) + 1 for run in re.findall("`+", text))])
    return f"{fence}text\n{printable(text)}\n{fence}"


def pools_of(folder: Folder, name: str) -> list[KeptPool]:
    """The pools of a file; ShardError in one sentence where they are not those that were kept."""
    try:
        with folder.open(name) as stream:
            table = pq.read_table(stream, page_checksum_verification=True)
        digest, before = _checks(table.schema.metadata)
        pools = [_pool(row) for row in table.to_pylist(maps_as_pydicts="strict")]
        if digest != _digest(name, before, [pool.row for pool in pools]):
            raise ValueError("found others than were written")
    except _UNREADABLE as error:
        raise _unreadable(folder, name, error) from None
    return pools


def _pool(row: dict[str, Any]) -> KeptPool:
    group = RolloutGroup.model_validate({name: row[name] for name in _GROUP})
    return KeptPool(group, **{name: row[name] for name in _PROMPT})


def _footer(folder: Folder, name: str) -> tuple[str, str]:
    """The check of a file, and that of the file before it."""
    try:
        with folder.open(name) as stream:
            return _checks(pq.read_metadata(stream).metadata)
    except _UNREADABLE as error:
        raise _unreadable(folder, name, error) from None


def _checks(metadata: Mapping[bytes, bytes] | None) -> tuple[str, str]:
    known = metadata or {}
    try:
        return known[_CHECK.encode()].decode(), known[_BEFORE.encode()].decode()
    except KeyError:
        raise ValueError("found none of this version's digests (version 0.1 wrote none)") from None


def _unreadable(folder: Folder, name: str, error: Exception) -> ShardError:
    sentence = " ".join(str(error).split())[:200]
    return ShardError(f"{folder.url}/{name}: not pools of rollouts: {sentence}")


def _last_name(rank: int) -> str:
    return f"rank-{rank:05}.json"


def _last(folder: Folder, rank: int) -> str | None:
    """The check of the last file of a rank; None: it is not known."""
    try:
        return str(json.loads(folder.read(_last_name(rank)) or b"")["last"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _write_last(folder: Folder, rank: int, check: str) -> None:
    folder.write(_last_name(rank), json.dumps({"last": check}).encode())


def _opened(folder: str | Folder) -> Folder:
    return Folder(folder) if isinstance(folder, str) else folder


def _digest(name: str, before: str, rows: Sequence[dict[str, Any]]) -> str:
    return fingerprint([name, before, rows])

"""Pools kept to be read and replayed: one in so many, as Markdown for people and as Parquet.

Which ones are kept depends on the sample's number, so it is the same on any number of ranks. A step
and rank makes one file of each kind, whole or not there, and a run that goes on from a checkpoint
takes back those of later steps. The Parquet file holds every group whole (tokens, log-probabilities
bit for bit), so `load` gives back what was learnt from, and a run can learn from it once more
without an engine.

Texts are hostile: in the Markdown each stands in a fence longer than any it holds, without
characters that a terminal would obey. Costs some 16 bytes a token
of the rollouts, two thirds of them in Parquet, and 4 ms to write a pool of 16 x 128.
"""

import io
import re
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from base.errors import ShardError
from base.files import Folder
from base.fingerprint import fingerprint
from base.text import printable
from train.rollouts.groups import Group, Place, rollout_name

Pools = Sequence[tuple[Place, Group]]

_SHOWN = 2000
"""Characters of a prefix, its last ones, in the Markdown; Parquet has all of it."""

_CHECK = "prewrite.check"
_NAME = re.compile(r"step-(\d+)-rank-\d+\.(?:parquet|md)")
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
    "version": pa.int64(),
    "rollouts": pa.list_(_ROLLOUT),
    "scores": _VALUES,
    "values": pa.map_(pa.string(), _VALUES),
    "counts": pa.map_(pa.string(), pa.int64()),
}
_TEXTS: dict[str, pa.DataType] = {
    "prefix": pa.string(),
    "original": pa.string(),
    "stored": pa.map_(pa.string(), pa.string()),
}
COLUMNS = pa.schema(_GROUP | _TEXTS)
"""One pool a row; docs/rollouts-watching.md says what each is."""


def kept(sample: int, every: int) -> bool:
    """Whether the pools of a sample are kept where one in `every` is; 0 keeps none."""
    return every > 0 and sample % every == 0


def write(folder: str | Folder, step: int, rank: int, pools: Pools) -> None:
    """Keep the pools of a step on one data parallel rank; nothing is written for none."""
    if not pools:
        return
    name, target = f"step-{step:08}-rank-{rank:05}", _opened(folder)
    rows = [_row(place, group) for place, group in pools]
    stream = io.BytesIO()
    check = {_CHECK: _digest([group for _, group in pools])}
    table = pa.Table.from_pylist(rows, COLUMNS.with_metadata(check))
    pq.write_table(table, stream, compression="zstd", write_page_checksum=True)
    target.write(f"{name}.md", readable(step, pools).encode())
    target.write(f"{name}.parquet", stream.getvalue())


def keep_until(folder: str | Folder, step: int) -> None:
    """Take back the files of the steps after `step`, from which a run goes on."""
    target = _opened(folder)
    for name in target.names():
        if (match := _NAME.fullmatch(name)) and int(match[1]) > step:
            target.remove(name)


def load(folder: str) -> dict[tuple[int, str], Group]:
    """Every group kept in `folder`, by sample and row id; it stands in memory. ShardError in one
    sentence where there is none, one is damaged, or one is there twice.
    """
    target, found = Folder(folder), dict[tuple[int, str], Group]()
    for name in names(folder):
        for group in _groups(target, name):
            key = group.sample, group.id
            if key in found:
                raise ShardError(f"{folder}/{name}: sample {key[0]}, row {key[1]}: found twice")
            found[key] = group
    return found


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
    for place, group in pools:
        parts += [f"## Sample {group.sample}", _fenced("\n".join(_facts(group)))]
        parts += ["### Prefix", _fenced("".join(place.context)[-_SHOWN:])]
        rollouts = {rollout_name(n): one.text for n, one in enumerate(group.rollouts)}
        texts = place.stored | rollouts
        for name in sorted(texts, key=lambda name: -group.scores.get(name, float("-inf"))):
            parts += [f"### {name}", _fenced(_told(group, name)), _fenced(texts[name])]
    return "\n\n".join(parts) + "\n"


def _facts(group: Group) -> Iterator[str]:
    yield f"row {group.id}"
    yield f"weights of step {group.version}"
    for name, count in group.counts.items():
        yield f"{name} {count}"


def _told(group: Group, name: str) -> str:
    """The score of a text, and what it comes from."""
    score = f"score {group.scores[name]:.4f}" if name in group.scores else "no score"
    values = (f"{c} {some[name]:.4f}" for c, some in group.values.items() if name in some)
    return "\n".join([score, *values])


def _fenced(text: str) -> str:
    fence = "`" * max([3, *(len(run) + 1 for run in re.findall("`+", text))])
    return f"{fence}text\n{printable(text)}\n{fence}"


def _row(place: Place, group: Group) -> dict[str, Any]:
    texts = {"prefix": "".join(place.context), "original": place.original, "stored": place.stored}
    return group.model_dump() | texts


def _groups(folder: Folder, name: str) -> Iterator[Group]:
    try:
        with folder.open(name) as stream:
            table = pq.read_table(stream, columns=[*_GROUP], page_checksum_verification=True)
        rows = table.to_pylist(maps_as_pydicts="strict")
        groups = [Group.model_validate(row) for row in rows]
        check = (table.schema.metadata or {}).get(_CHECK.encode(), b"").decode()
        if not check:
            raise ValueError("found none of this version's digests (version 0.1 wrote none)")
        if check != _digest(groups):
            raise ValueError("found others than were written")
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        sentence = " ".join(str(error).split())[:200]
        raise ShardError(f"{folder.url}/{name}: not pools of rollouts: {sentence}") from None
    yield from groups


def _opened(folder: str | Folder) -> Folder:
    return Folder(folder) if isinstance(folder, str) else folder


def _digest(groups: Sequence[Group]) -> str:
    return fingerprint([group.model_dump(mode="json") for group in groups])

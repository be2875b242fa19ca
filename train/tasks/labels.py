"""That a prompted task has labels to learn from: of more than one kind, in every set."""

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from prewrite.base.errors import InputError
from prewrite.prompts.thoughts import CLOSE
from prewrite.shards.schema import TEXTS
from prewrite.train.config.sections import TrainConfig
from prewrite.train.config.task import JudgeTask, ThinkTask
from prewrite.train.data.index import mask_of, read_part
from prewrite.train.data.prompted import SKIPPED
from prewrite.train.data.source import TrainingSet
from prewrite.train.tasks.judging import criterion_of, label_of

_COPIES = {False: "rows that are judged", True: "rows to be copied"}


def check(config: TrainConfig) -> None:
    """InputError where a set has no labels, or one label only: nothing is to be learnt from that.

    Reads a few columns of each set, part by part, until there are two labels.
    """
    for number in range(len(config.data) if config.prompted else 0):
        if isinstance(config.task, ThinkTask):
            _thoughts(TrainingSet(number, config), config.task.text)
            continue
        source, found, rows = TrainingSet(number, config), set[float | bool](), 0
        judges = isinstance(config.task, JudgeTask)
        if not judges and not source.copies:
            continue  # all rows are judged
        for table in _tables(source):
            rows += table.num_rows
            found |= _labels(source, table) if judges else _kinds(source, table)
            if len(found) > 1:
                break
        if len(found) < 2:
            raise InputError(f"{source.url}: {_told(source, found, rows)}")


def _thoughts(source: TrainingSet, text: str) -> None:
    rows = 0
    for table in _tables(source):
        rows += table.num_rows
        if pc.any(pc.match_substring(table[text], CLOSE)).as_py():
            return
    raise InputError(
        f"{source.url}: found no thought in {rows:,} rows of {text} (train.task.text); accepted: a "
        "set of a rewrite pass with form: thoughts"
    )


def _tables(source: TrainingSet) -> Iterator[pa.Table]:
    used = [item.columns for item in (*source.filters, *source.copies)]
    columns = {"chunk", "rewrite_status"}.union(*used, source.labels)
    for part in source.files:
        table = read_part(source.shards, part, sorted(columns))
        is_asked = table["rewrite_status"].cast(pa.string()).to_numpy() != SKIPPED
        yield table.filter(pa.array(mask_of(table, source.filters) & is_asked))


def _labels(source: TrainingSet, table: pa.Table) -> set[float | bool]:
    criterion = criterion_of(source.criterion or "")
    found = {label_of(row, criterion) for row in table.to_pylist()} - {None}
    pair = criterion.kind == "pairwise" and found
    return {0.0, 1.0} if pair else {one for one in found if one is not None}  # in both orders


def _kinds(source: TrainingSet, table: pa.Table) -> set[float | bool]:
    return {bool(one) for one in mask_of(table, source.copies)}


def _told(source: TrainingSet, found: set[float | bool], rows: int) -> str:
    if not source.criterion:
        kind = _COPIES[bool(*found)] if found else "no rows"
        return (
            f"found {kind} only, in {rows:,} rows (train.task.copies); accepted: rows of both kinds"
        )
    name = criterion_of(source.criterion).name
    if not found:
        columns = " and ".join(f"{text}_{name}" for text in TEXTS)
        return (
            f"found no label of {name} in {rows:,} rows; accepted: of a criterion that compares, "
            f"rows whose {columns} differ; of another, scores that are the value of a verdict"
        )
    return (
        f"found the one label {float(*found):g} of {name} in {rows:,} rows; accepted: two or more"
    )

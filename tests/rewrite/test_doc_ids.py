"""Documents whose ids name nothing, or several of them, stay apart, and are counted."""

import json
import random
import re
import signal
from collections import Counter
from functools import cached_property
from io import StringIO
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from prewrite.base.errors import Interrupted
from prewrite.pipeline.config import RunConfig
from prewrite.pipeline.passes import Document
from prewrite.pipeline.retry import _reopened, log_of
from prewrite.pipeline.run import run_pass
from prewrite.rewrite.config import ChunkingConfig, InputConfig
from prewrite.rewrite.corpus import Corpus
from prewrite.rewrite.doc_ids import DocIds
from prewrite.rewrite.layouts import Parsed
from prewrite.rewrite.sample import read
from prewrite.shards.manifest import Manifest, odd
from prewrite.shards.reader import ShardSet
from prewrite.shards.repair import repair
from prewrite.shards.show import print_summary
from prewrite.shards.verify import verify
from tests.commands import shards as main
from tests.pipeline.fake import TOKENIZER
from tests.rewrite.corpora import CorpusPass, corpus, items, rows
from tests.shards.edits import flip

BAD: dict[str, list[Any]] = {
    "null": [None],
    "empty": [""],
    "blank": [" ", "\t\n", "\u3000"],
    "nan": [float("nan")],
    "infinite": [float("inf"), float("-inf")],
    "too_long": ["x" * 5000],
}
QUERY = re.search(
    r"duckdb\.sql\(\"\"\"(.+?)\"\"\"\)", Path("docs/shard-format.md").read_text(), re.DOTALL
)


def asked(url: Path) -> list[str]:
    """The texts of all documents, as the page on the format says that they are found."""
    assert QUERY
    return [
        text
        for *_, text in duckdb.execute(QUERY[1].replace("data/quickstart", str(url))).fetchall()
    ]


def record(text: str, **more: Any) -> str:
    return json.dumps({"text": text, **more}) + "\n"


def write(path: Path, records: list[dict[str, Any]]) -> None:
    """As JSON lines, or as Parquet with small row groups."""
    path.parent.mkdir(exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(records), path, row_group_size=7)
    else:
        path.write_text("".join(json.dumps(one) + "\n" for one in records))


def counts(source: Any) -> dict[str, int]:
    found = [item.counts for item in items(source) if isinstance(item, Document)]
    return dict(sum(found, Counter()))


@pytest.mark.parametrize("key", ["id", "doc_id"])
def test_an_id_that_names_nothing_gives_way_to_the_place(tmp_path: Path, key: str) -> None:
    values = [value for kind in BAD.values() for value in kind * 2]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(record("Some text.", **{key: value}) for value in values))
    source = corpus(path)
    assert [row["doc_id"] for row in rows(source)] == [f"a.jsonl/{n}" for n in range(len(values))]
    assert counts(source) == {f"id:{kind}": 2 * len(some) for kind, some in BAD.items()}
    kept = [json.loads(row["meta"])[key] for row in rows(source)]
    assert kept == [str(v) if isinstance(v, float) else v for v in values]


def test_ids_of_pandas(tmp_path: Path) -> None:
    """A column of numbers with holes becomes one of floats."""
    table = pa.table({"text": ["a", "b", "c", "d"], "id": [1.0, float("nan"), None, float("nan")]})
    pq.write_table(table, tmp_path / "a.parquet")
    source = corpus(tmp_path)
    assert [row["doc_id"] for row in rows(source)] == [
        "1.0",
        *(f"a.parquet/{n}" for n in (1, 2, 3)),
    ]
    assert counts(source) == {"id:nan": 2, "id:null": 1}


def test_a_record_without_an_id_is_nothing_odd(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(
        record("a") + record("b", id="x") + record("c", id=float("nan"), doc_id="y")
    )
    source = corpus(tmp_path)
    assert [row["doc_id"] for row in rows(source)] == ["a.jsonl/0", "x", "a.jsonl/2"]
    assert counts(source) == {"id:nan": 1}


def test_later_ones_of_one_id_have_their_number_behind_it(tmp_path: Path) -> None:
    ids = ["d", "e", "d", "d#4", "d", "a.jsonl/6", None, 7, "7"]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(record("Some text.", **({} if i is None else {"id": i})) for i in ids))
    source = corpus(path)
    assert [row["doc_id"] for row in rows(source)] == [
        *("d", "e", "d#2", "d#4", "d#4#4", "a.jsonl/6", "a.jsonl/6#6", "7", "7#8")
    ]
    assert counts(source) == {"id:duplicate": 4}


def test_bad_and_left_out_records_name_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(record("", id="d") + record("a", id="d"))
    assert [row["doc_id"] for row in rows(corpus(tmp_path, max_bad_rows=1))] == ["d"]


def test_what_is_remembered_is_bounded() -> None:
    """And never less than asked for."""
    names = DocIds("a", remembered=8)
    for number in range(1000):
        given, fault = names.give(Parsed("", str(number), "", ""), number)
        assert (given, fault) == (str(number), None)
        assert len(names._new) + len(names._old) <= 16
        for before in range(max(0, number - 7), number):
            again = DocIds("a", 8, {*names._new}, {*names._old})
            assert again.give(Parsed("", str(before), "", ""), number)[1] == "duplicate"


def jumbled(folder: Path, seed: int, file: str) -> list[str]:
    """A file in which ids repeat, near and far, some of them as made names are; its texts."""
    rng = random.Random(seed)
    every = [*"abc", "", " ", "a#3", "b#17", f"{file}/5", f"{file}/30", f"{file}/30#30", None]
    texts = [f"Document {n} of {file} {seed}. " + "Word. " * rng.randrange(9) for n in range(60)]
    write(folder / file, [{"text": text, "id": rng.choice(every)} for text in texts])
    return texts


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("file", ["a.jsonl", "a.parquet"])
def test_names_are_distinct_in_each_range_and_the_same_after_any_resume(
    tmp_path: Path, seed: int, file: str
) -> None:
    texts = jumbled(tmp_path / "in", seed, file)
    options = {"split_bytes": 1024} if seed % 2 else {}
    source = corpus(tmp_path / "in", **options)
    assert len(source.splits()) > 1 or not options
    found = list[str]()
    for split in source.splits():
        every = list(source.read(split, 0))
        named = [item.rows[0] for item in every if isinstance(item, Document)]
        assert len({row["doc_id"] for row in named}) == len(named)
        found += (row["original"] for row in named)
        for start in range(0, len(every), 5):
            assert list(source.read(split, start)) == every[start:]
    assert found == texts


@pytest.mark.parametrize("file", ["a.jsonl", "a.parquet"])
def test_distinct_ids_stay_what_they_are(tmp_path: Path, file: str) -> None:
    ids = [f"doc#{n}" if n % 3 else f"{file}/{n}" for n in range(60)]
    write(tmp_path / file, [{"text": f"Text {n}.", "id": one} for n, one in enumerate(ids)])
    for options in ({}, {"split_bytes": 1024}):
        source = corpus(tmp_path, **options)
        assert [row["doc_id"] for row in rows(source)] == ids and counts(source) == {}


class ChunkedPass(CorpusPass):
    """Which cuts documents."""

    @cached_property
    def source(self) -> Corpus:
        return Corpus(
            InputConfig(paths=list(self.paths), **self.options),
            ChunkingConfig(tokenizer=TOKENIZER, tokens=5),
        )


@pytest.fixture
def job(tmp_path: Path) -> ChunkedPass:
    """Over files with the same ids, two of them in ranges, cut in several chunks a document."""
    for number, file in enumerate(("a.jsonl", "b.jsonl", "c.parquet")):
        jumbled(tmp_path / "in", number, file)
    for file in ("x.jsonl", "y.jsonl"):
        write(tmp_path / "in" / file, [{"text": f"{file} {n}.", "id": n} for n in range(3)])
    return ChunkedPass((str(tmp_path / "in"),), options={"split_bytes": 1024}, max_bad_rows=1.0)


def names_of(url: Path) -> list[tuple[str, str]]:
    return [(row["id"], row["doc_id"]) for row in ShardSet(str(url)).rows(["id", "doc_id"])]


def test_any_workers_and_any_resume_give_the_same_names(job: ChunkedPass, tmp_path: Path) -> None:
    expected = [(row["id"], row["doc_id"]) for row in rows(job.source)]
    texts = sorted(
        "".join(row["original"] for row in item.rows).upper()
        for item in items(job.source)
        if isinstance(item, Document)
    )
    assert len(expected) > 3 * len(texts)
    for tasks, workers in ((1, 1), (4, 1), (4, 3)):
        out = tmp_path / f"set-{tasks}-{workers}"
        run_pass(job, str(out), RunConfig(tasks=tasks, workers=workers, rows_per_part=13))
        assert names_of(out) == expected and sorted(asked(out)) == texts
    assert {"0", "1", "2"} <= {name for _, name in expected}
    out = tmp_path / "stopped"
    for tasks in (1, 3):
        stopping = ChunkedPass(job.paths, options=job.options, max_bad_rows=1.0, window=4)
        stopping.before = stop_after(20)
        with pytest.raises(Interrupted):
            run_pass(stopping, str(out), RunConfig(tasks=tasks, rows_per_part=7))
    run_pass(job, str(out), RunConfig(tasks=2, rows_per_part=50))
    assert names_of(out) == expected and sorted(asked(out)) == texts
    assert Manifest.load(ShardSet(str(out)).folder).odd == odd(counts(job.source))


def stop_after(documents: int) -> Any:
    seen = iter(range(documents))

    async def before(document: Document) -> None:
        if next(seen, None) is None:
            signal.raise_signal(signal.SIGTERM)

    return before


def test_they_are_counted_where_a_person_looks(
    job: ChunkedPass, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "set"
    manifest = run_pass(job, str(out), RunConfig(rows_per_part=13))
    found = counts(job.source)
    assert set(found) == {"id:duplicate", "id:empty", "id:blank", "id:null"}
    assert found.items() <= manifest.passes[0].counts.items()
    assert +read(job.source).odd == found
    lines = [(f"ids replaced {n}", kind[3:]) for kind, n in found.items()]
    with StringIO() as screen:
        print_summary(ShardSet(str(out)), Console(file=screen, width=120))
        said = " ".join(screen.getvalue().split())
    assert all(f"{line}: {kind}" in said for line, kind in lines)
    assert main(["show", str(out)]) == 0 and "ids replaced" in capsys.readouterr().out
    assert main(["report", str(out), "--to", str(tmp_path / "report.html")]) == 0
    page = (tmp_path / "report.html").read_text()
    for kind, count in found.items():
        assert f"{count} ids replaced: {kind[3:]}." in page


def test_counts_outlive_repair_and_another_asking(job: ChunkedPass, tmp_path: Path) -> None:
    out = tmp_path / "set"
    before = run_pass(job, str(out), RunConfig(rows_per_part=13))
    for record in log_of(str(out)):
        kept = {k: n for k, n in record.counts.items() if k.startswith("id:")}
        assert _reopened(record).counts == kept
    for part in ShardSet(str(out)).parts[::2]:
        flip(out, part)
    assert repair(str(out))
    assert run_pass(job, str(out), RunConfig(rows_per_part=13)).odd == before.odd
    assert verify(str(out))["problems"] == []

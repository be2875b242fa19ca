"""One huge file in ranges: the same rows under the same ids as from the file as a whole."""

import gzip
import hashlib
import json
import random
import signal
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from prewrite.base.errors import InputError, Interrupted
from prewrite.pipeline.config import RunConfig
from prewrite.pipeline.passes import Document, End, Item
from prewrite.pipeline.run import run_pass
from prewrite.rewrite.corpus import Corpus
from prewrite.rewrite.files import CorpusFile
from prewrite.rewrite.ranges import cut
from prewrite.shards.reader import ShardSet
from prewrite.shards.show import print_summary
from prewrite.shards.summary import CommitSummary
from prewrite.shards.verify import verify
from tests.rewrite.corpora import CorpusPass, corpus, items, rows
from tests.rewrite.published import jsonl, put, redpajama_v2, texts

STEP, LONGEST = 1024, 1024


def odd_lines(seed: int, count: int) -> bytes:
    """Lines of every kind: good, broken, blank, too long, with any line end."""
    noise = random.Random(seed)
    kinds: list[Callable[[int], bytes]] = [
        lambda n: json.dumps({"text": f"Document {n}. " * noise.randint(1, 20)}).encode(),
        lambda n: json.dumps({"text": f"Document {n}."}).encode(),
        lambda n: b'{"text": "broken',
        lambda n: b" " * noise.randint(0, 5),
        lambda n: b'{"text": "' + b"x" * noise.randint(900, 5000) + b'"}',
        lambda n: b" " * 3000,
    ]
    lines = [noise.choices(kinds, [6, 6, 1, 2, 1, 0.3])[0](n) for n in range(count)]
    ends = [noise.choice([b"\n", b"\n", b"\r\n"]) for _ in lines]
    data = b"".join(line + end for line, end in zip(lines, ends, strict=True))
    return data if seed % 2 else data.rstrip(b"\r\n")


def without_place(found: list[Item]) -> list[Item]:
    """Items without what is of one range: offsets and digests; and without Ends."""
    return [
        replace(item, offset=0, before="", after="") for item in found if not isinstance(item, End)
    ]


@pytest.mark.parametrize("seed", range(12))
def test_ranges_of_a_text_give_what_the_file_gives(tmp_path: Path, seed: int) -> None:
    put(tmp_path / "a.jsonl", odd_lines(seed, 120))
    whole = corpus(tmp_path, max_record_bytes=LONGEST)
    source = corpus(tmp_path, max_record_bytes=LONGEST, split_bytes=STEP)
    assert len(source.splits()) > 5
    assert without_place(items(source)) == without_place(items(whole))
    assert sum(split.bytes for split in source.splits()) == (tmp_path / "a.jsonl").stat().st_size


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.lists(st.sampled_from([b"a", b"\n", b" ", b"\r", b"\n\n", b"b" * 40])).map(b"".join),
    step=st.integers(1, 60),
    longest=st.integers(5, 50),
)
def test_wherever_it_is_cut(tmp_path: Path, data: bytes, step: int, longest: int) -> None:
    """Cuts stand at line starts, touch, and count what the reader counts."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(data)
    found = cut(str(path), len(data), step, longest)
    if len(found) == 1:
        return
    ranges = [place for place, _ in found if place]
    assert ranges[0].start == 0 and ranges[-1].stop == len(data)
    for before, after in zip(ranges, ranges[1:], strict=False):
        assert before.stop == after.start and data[: after.start].endswith(b"\n")
        assert before.records + before.count == after.records
        assert data[: after.start].count(b"\n") == after.lines
    told = [one for place in ranges for one in CorpusFile(str(path), longest, place).records()]
    whole = CorpusFile(str(path), longest).records()
    assert [replace(one, offset=0) for one in told] == [replace(one, offset=0) for one in whole]
    assert [place.sha256 for place in ranges[:-1]] == [None] * (len(ranges) - 1)
    assert ranges[-1].sha256 == hashlib.sha256(data).hexdigest()


def big_parquet(path: Path, count: int = 200) -> None:
    table = pa.table({"text": [f"Document {n}. " * 20 if n % 7 else None for n in range(count)]})
    pq.write_table(table, path, row_group_size=9, compression="none", use_dictionary=False)


def test_ranges_of_parquet_give_what_the_file_gives(tmp_path: Path) -> None:
    big_parquet(tmp_path / "a.parquet")
    whole, source = corpus(tmp_path), corpus(tmp_path, split_bytes=STEP * 4)
    assert len(source.splits()) > 5
    assert without_place(items(source)) == without_place(items(whole))
    size = (tmp_path / "a.parquet").stat().st_size
    assert sum(split.bytes for split in source.splits()) == size
    digests = [item.sha256 for item in items(source) if isinstance(item, End)]
    digest = hashlib.sha256((tmp_path / "a.parquet").read_bytes()).hexdigest()
    assert digests == [None] * (len(digests) - 1) + [digest]


@pytest.mark.parametrize(
    ("name", "pack"), [("a.jsonl.gz", gzip.compress), ("a.jsonl.zst", zstandard.compress)]
)
def test_a_packed_text_stays_whole(
    tmp_path: Path, name: str, pack: Callable[[bytes], bytes]
) -> None:
    noise = random.Random(1)
    data = jsonl([{"text": noise.randbytes(500).hex()} for _ in range(50)])
    (tmp_path / name).write_bytes(pack(data))
    (split,) = corpus(tmp_path, split_bytes=STEP).splits()
    assert split.range is None


@pytest.mark.parametrize("data", [b"PAR1" * 1000, b"x" * 4000 + b"PAR1"])
def test_parquet_without_a_footer_stays_whole_and_is_told(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.parquet").write_bytes(data)
    put(tmp_path / "b.jsonl", jsonl([{"text": "b"}]))
    assert len(rows(corpus(tmp_path, split_bytes=STEP))) == 1


def test_a_resume_within_a_range(tmp_path: Path) -> None:
    put(tmp_path / "a.jsonl", odd_lines(1, 60))
    big_parquet(tmp_path / "b.parquet", 60)
    source = corpus(tmp_path, split_bytes=STEP * 2, max_record_bytes=LONGEST)
    for split in source.splits():
        every = list(source.read(split, 0))
        for start in range(len(every)):
            assert list(source.read(split, start)) == every[start:]
        offsets = [item.offset for item in every if not isinstance(item, End)]
        assert offsets == sorted(offsets) and all(offset <= split.bytes for offset in offsets)


def test_a_file_that_changes_after_it_was_counted_is_an_error(tmp_path: Path) -> None:
    put(tmp_path / "a.jsonl", odd_lines(1, 60))
    source = corpus(tmp_path, split_bytes=STEP, max_record_bytes=LONGEST)
    splits = source.splits()
    data = (tmp_path / "a.jsonl").read_bytes()
    put(tmp_path / "a.jsonl", data.replace(b"\n", b" ", 1))
    with pytest.raises(InputError, match=r"a\.jsonl: found \d+ records in bytes 0 to \d+, where"):
        list(source.read(splits[0], 0))


def test_a_limit_cuts_nothing(tmp_path: Path) -> None:
    put(tmp_path / "a.jsonl", odd_lines(1, 200))
    every = without_place(items(corpus(tmp_path, split_bytes=STEP, max_record_bytes=LONGEST)))
    source = corpus(tmp_path, split_bytes=STEP, max_record_bytes=LONGEST, limit=150)
    assert [split.range for split in source.splits()] == [None]
    assert without_place(items(source)) == every[:150]


def test_names_of_splits_sort_as_they_stand(tmp_path: Path) -> None:
    put(tmp_path / "a.jsonl", jsonl([{"text": "x" * 1100}]) * 3)
    source = corpus(tmp_path, split_bytes=STEP)
    assert [split.name for split in source.splits()] == ["00000", "00001", "00002"]


@pytest.fixture
def huge(tmp_path: Path) -> Path:
    """A text, a Parquet file and a packed text, the first two in many ranges."""
    pieces = [text[i : i + 300] for text in texts() for i in range(0, 3000, 300)]
    records = [{"text": piece} for piece in pieces if piece.strip()]
    put(tmp_path / "in/a.jsonl", jsonl(records[0::3]) + b"{broken\n" + jsonl(records[:5]))
    put(tmp_path / "in/b.jsonl.gz", jsonl(records[1::3]))
    table = pa.Table.from_pylist(records[2::3])
    pq.write_table(table, tmp_path / "in/c.parquet", row_group_size=5)
    return tmp_path


def job(folder: Path, **more: Any) -> CorpusPass:
    options = {"split_bytes": 2048}
    return CorpusPass((str(folder / "in"),), options=options, max_bad_rows=1.0, **more)


def ids(url: Path) -> list[str]:
    return [row["id"] for row in ShardSet(str(url)).rows(["id"])]


def assert_inputs(url: Path, folder: Path) -> None:
    found = {Path(one.path).name: one for one in ShardSet(str(url)).manifest.inputs}
    assert set(found) == {"a.jsonl", "b.jsonl.gz", "c.parquet"}
    for name, item in found.items():
        data = (folder / "in" / name).read_bytes()
        assert (item.bytes, item.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    whole = [item for item in items(corpus(folder / "in")) if not isinstance(item, End)]
    assert sum(one.records or 0 for one in found.values()) == len(whole)


@pytest.mark.slow
def test_any_number_of_workers_makes_the_same_set(huge: Path) -> None:
    expected = [row["id"] for row in rows(corpus(huge / "in"))]
    assert len(job(huge).source.splits()) > 8
    for tasks, workers in ((1, 1), (3, 1), (7, 2)):
        out = huge / f"set-{tasks}-{workers}"
        run_pass(job(huge), str(out), RunConfig(tasks=tasks, workers=workers, rows_per_part=7))
        assert ids(out) == expected
        assert verify(str(out))["problems"] == []
        assert_inputs(out, huge)


def test_the_number_of_tasks_may_change_between_runs(huge: Path) -> None:
    """Stopped again and again, and continued with other tasks each time."""
    expected, out = [row["id"] for row in rows(corpus(huge / "in"))], huge / "set"
    for tasks in (4, 1, 3, 9, 2):
        seen = 0

        async def stop_after_six(document: Document) -> None:
            nonlocal seen
            seen += 1
            if seen == 6:
                signal.raise_signal(signal.SIGTERM)

        with pytest.raises(Interrupted):
            stopping = job(huge, before=stop_after_six, window=4)
            run_pass(stopping, str(out), RunConfig(tasks=tasks, rows_per_part=4))
    run_pass(job(huge), str(out), RunConfig(tasks=5, rows_per_part=4))
    assert ids(out) == expected
    assert_inputs(out, huge)


def test_left_out_documents_are_counted_in_the_manifest(tmp_path: Path) -> None:
    redpajama_v2(tmp_path)
    options = {"layout": "redpajama-v2", "filter": "ccnet_perplexity < 300"}
    options["duplicates"] = "leave_out"
    filtering = CorpusPass((str(tmp_path / "documents"),), options=options)
    manifest = run_pass(filtering, str(tmp_path / "set"), RunConfig(rows_per_part=1))
    assert manifest.documents == len(rows(filtering.source)) > 0
    assert manifest.left_out["duplicate"] == 2 and manifest.left_out["filtered"] > 0
    assert manifest.documents + sum(manifest.left_out.values()) == len(texts())
    with StringIO() as screen:
        print_summary(ShardSet(str(tmp_path / "set")), Console(file=screen))
        assert "input records left out   2: duplicate" in screen.getvalue()
    later = manifest.model_copy(update={"passes": manifest.passes * 2}, deep=True)
    CommitSummary().write_into(later, "complete")
    assert later.left_out == manifest.left_out, "a later pass knows nothing of it"
    assert manifest.skipped == {} and manifest.inputs[0].records == len(texts())


def test_a_corpus_in_ranges_is_one_source(huge: Path) -> None:
    source = corpus(huge / "in", split_bytes=2048)
    assert isinstance(source, Corpus)
    assert source.listing() == corpus(huge / "in").listing()

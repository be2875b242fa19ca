"""The corpus as a source: every bad record is named and passed over; ids stay what they were."""

import gzip
import json
import pickle
import shutil
import tracemalloc
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from prewrite.base.errors import InputError
from prewrite.base.share import share
from prewrite.pipeline.passes import Document, End, Item, LeftOut, Skipped
from prewrite.rewrite.config import ChunkingConfig, InputConfig
from prewrite.rewrite.corpus import Corpus

MODEL = "models/smollm2-135m-instruct"


def corpus(
    *paths: object, tokens: int = 32, cuts: Literal["every", "one"] = "every", **options: Any
) -> Corpus:
    return Corpus(
        InputConfig(paths=[str(path) for path in paths], **options),
        ChunkingConfig(tokenizer=MODEL, tokens=tokens, cuts=cuts),
    )


def items(source: Corpus) -> list[Item]:
    return [item for split in source.splits() for item in source.read(split, 0)]


def documents(source: Corpus) -> list[list[dict[str, Any]]]:
    return [item.rows for item in items(source) if isinstance(item, Document)]


def texts(source: Corpus) -> list[str]:
    return ["".join(row["original"] for row in rows) for rows in documents(source)]


def ids(source: Corpus) -> list[str]:
    return [row["id"] for rows in documents(source) for row in rows]


def skips(source: Corpus) -> list[tuple[str, int | None, str]]:
    found = [item.skip for item in items(source) if isinstance(item, Skipped)]
    return [(Path(skip.file).name, skip.line, skip.reason) for skip in found]


def line(text: object, **fields: object) -> bytes:
    return json.dumps({"text": text, **fields}).encode() + b"\n"


def write(path: Path, *lines: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(lines))
    return path


def test_rows_of_a_document(tmp_path: Path) -> None:
    long = "The quick brown fox jumps over the lazy dog. " * 10
    path = write(tmp_path / "web" / "a.jsonl", line("Hello.", id=7, url="u"), line(long))
    (hello,), rows = documents(corpus(tmp_path))
    assert hello.pop("id")
    assert hello == {
        "doc_id": "7",
        "source": "web",
        "chunk": 0,
        "chunks": 1,
        "original": "Hello.",
        "original_tokens": 2,
        "rewrite": None,
        "rewrite_status": None,
        "meta": '{"url": "u"}',
    }
    assert {row["doc_id"] for row in rows} == {"web/a.jsonl/1"}
    assert [row["chunk"] for row in rows] == list(range(len(rows)))
    assert {row["chunks"] for row in rows} == {len(rows)} != {1}
    assert "".join(row["original"] for row in rows) == long
    *_, end = items(corpus(path))
    assert isinstance(end, End) and end.sha256


def test_one_cut_marks_the_rows_nobody_rewrites(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", line("The quick brown fox jumps over the lazy dog. " * 10))
    (rows,) = documents(corpus(tmp_path, cuts="one"))
    assert [row["rewrite_status"] for row in rows][:2] == ["skipped", None]
    assert sum(row["rewrite_status"] is None for row in rows) == 1


BAD_LINES = [
    (b'{"text": "broken\n', "broken_json"),
    (b'{"id": 1}\n', "no_text"),
    (line(None), "no_text"),
    (line(5), "text_is_no_string"),
    (line(["a"]), "text_is_no_string"),
    (line(""), "blank_text"),
    (line(" \n\u3000"), "blank_text"),
    (rb'{"text": "a \ud800 b"}' + b"\n", "lone_surrogate"),
    (line("x" * 10_000_000), "too_large"),
    (b'{"text": "caf\xe9"}\n', "not_utf8"),
    (b'["text", "a"]\n', "not_an_object"),
    (b'"text"\n', "not_an_object"),
]


@pytest.mark.parametrize(("bad", "reason"), BAD_LINES, ids=[reason for _, reason in BAD_LINES])
@pytest.mark.parametrize("place", ["first", "middle", "last", "only"])
def test_a_bad_line_is_named_and_the_run_goes_on(
    tmp_path: Path, bad: bytes, reason: str, place: str
) -> None:
    good = [line("one"), b"\n", line("two")]
    at = {"first": 0, "middle": 2, "last": 3, "only": 0}[place]
    lines = [bad] if place == "only" else [*good[:at], bad, *good[at:]]
    write(tmp_path / "a.jsonl", *lines)
    write(tmp_path / "b.jsonl", line("three"))
    source = corpus(tmp_path)
    assert texts(source) == ([] if place == "only" else ["one", "two"]) + ["three"]
    assert skips(source) == [("a.jsonl", at + 1, reason)]


@pytest.mark.parametrize(
    ("name", "pack"),
    [("a.jsonl.gz", gzip.compress), ("a.json.gz", gzip.compress)]
    + [("a.jsonl.zst", zstandard.compress), ("a.json.zst", zstandard.compress)],
)
def test_a_truncated_archive_keeps_its_whole_lines(
    tmp_path: Path, name: str, pack: Callable[[bytes], bytes]
) -> None:
    many = b"".join(
        line(f"document {n} {uuid.UUID(int=n * 7919**9 % 2**128)}") for n in range(2000)
    )
    write(tmp_path / name, pack(many)[:-20])
    write(tmp_path / "b.jsonl", line("three"))
    source = corpus(tmp_path)
    found = texts(source)
    assert found[-1] == "three"
    assert all(text.startswith(f"document {n} ") for n, text in enumerate(found[:-1]))
    assert skips(source) == [(name, len(found), "truncated_or_damaged_archive")]


def test_an_unreadable_parquet_file_is_one_skip(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["one"]}), tmp_path / "a.parquet")
    data = (tmp_path / "a.parquet").read_bytes()
    write(tmp_path / "a.parquet", data[:-30])
    pq.write_table(pa.table({"text": ["two", None, " "]}), tmp_path / "b.parquet")
    pq.write_table(pa.table({"text": [1]}), tmp_path / "c.parquet")
    pq.write_table(pa.table({"body": ["x"]}), tmp_path / "d.parquet")
    source = corpus(tmp_path)
    assert texts(source) == ["two"]
    assert skips(source) == [
        ("a.parquet", 1, "unreadable_parquet"),
        ("b.parquet", 2, "no_text"),
        ("b.parquet", 3, "blank_text"),
        ("c.parquet", 1, "text_is_no_string"),
        ("d.parquet", 1, "no_text"),
    ]


def test_all_kinds_of_files_in_one_corpus(tmp_path: Path) -> None:
    write(
        tmp_path / "a.jsonl", b"\xef\xbb\xbf" + line("a1").replace(b"\n", b"\r\n"), line("a2")[:-1]
    )
    write(tmp_path / "b.json", line("b"))
    write(tmp_path / "c.jsonl.gz", gzip.compress(line("c")))
    write(tmp_path / "d.json.gz", gzip.compress(line("d1")), gzip.compress(line("d2")))
    write(tmp_path / "e.jsonl.zst", zstandard.compress(line("e1")), zstandard.compress(line("e2")))
    write(tmp_path / "f.json.zst", zstandard.compress(line("f")))
    pq.write_table(pa.table({"text": ["g"], "n": [1.5]}), tmp_path / "g.parquet")
    write(tmp_path / "h.jsonl", b"")
    write(tmp_path / "i.jsonl", b"\n \r\n\n")
    source = corpus(tmp_path)
    assert texts(source) == ["a1", "a2", "b", "c", "d1", "d2", "e1", "e2", "f", "g"]
    assert skips(source) == []
    assert json.loads(documents(source)[-1][0]["meta"]) == {"n": 1.5}


@pytest.mark.parametrize("meta", [{"u": 1}, '{"u": 1}', "{'u': 1}"])
def test_redpajama_v1(tmp_path: Path, meta: object) -> None:
    write(tmp_path / "hub.jsonl", line("a", meta=meta, red_pajama_subset="c4"))
    write(tmp_path / "raw" / "arxiv" / "x.jsonl", line("b", meta=meta))
    write(tmp_path / "stackexchange.jsonl", line("c", meta=meta))
    rows = [row for rows in documents(corpus(tmp_path)) for row in rows]
    assert [row["source"] for row in rows] == ["c4", "arxiv", "stackexchange"]
    assert [json.loads(row["meta"]) for row in rows] == [{"meta": meta}] * 3


WIDE = {
    "text": b'{"text": "a", "meta": "' + b"x" * 1_000_000 + b'"}',
    "keys": b'{"text": "a", "meta": {' + b",".join(b'"%d":0' % n for n in range(100_000)) + b"}}",
    "lists": b'{"text": "a", "meta": [' + b",".join([b"[]"] * 330_000) + b"]}",
    "objects": b'{"text": "a", "meta": [' + b",".join([b'{"":0}'] * 130_000) + b"]}",
    "deep": b'{"text": "a", "meta": ' + b"[" * 500_000 + b"]" * 500_000 + b"}",
    "deep text": b'{"text": "a", "meta": "' + b"[" * 1_000_000 + b'"}',
}


@pytest.mark.parametrize("name", WIDE)
def test_the_memory_of_one_record_is_bounded_by_its_bytes(tmp_path: Path, name: str) -> None:
    """40 bytes for each byte of it, as the page on the corpus says; nothing for a longer one."""
    write(tmp_path / "a.jsonl", WIDE[name] + b"\n", line("last"))
    for longest, most in ((1 << 20, 40 << 20), (1 << 19, 6 << 20)):
        source = corpus(tmp_path, max_record_bytes=longest, max_bad_rows=1)
        source.chunker  # noqa: B018  (its tokenizer is no record's)
        source.splits()
        tracemalloc.start()
        found = [item.skip.reason for item in items(source) if isinstance(item, Skipped)]
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < most
        assert found == (
            ["too_large"] if longest == 1 << 19 else ["broken_json"] if name == "deep" else []
        )


def test_a_meta_that_is_too_large_for_its_rows_is_left_out_and_counted(tmp_path: Path) -> None:
    """It stands in every row: this one would take 1.9 GB."""
    words = "The quick brown fox jumps over the lazy dog. " * 10_000
    write(tmp_path / "a.jsonl", line(words, meta="x" * 600_000), line("b", meta="x" * 600_000))
    many, (one,) = documents(source := corpus(tmp_path))
    assert "".join(row["original"] for row in many) == words and len(many) > 3000
    found = {row["meta"] for row in many}
    assert found == {'{"left_out": "too_large", "characters": 600012}'}
    assert json.loads(one["meta"]) == {"meta": "x" * 600_000}
    counts = [item.counts for item in items(source) if isinstance(item, Document)]
    assert counts == [{"meta:too_large": 1}, {}]


def test_ids_stay_when_the_corpus_moves(tmp_path: Path) -> None:
    write(tmp_path / "old" / "en" / "a.jsonl", line("one " * 100), line("two"))
    write(tmp_path / "old" / "de" / "a.jsonl", line("eins"))
    shutil.copytree(tmp_path / "old", tmp_path / "new" / "home")
    before, after = documents(corpus(tmp_path / "old")), documents(corpus(tmp_path / "new/home"))
    assert before == after
    by_glob = documents(corpus(tmp_path / "old" / "*" / "*.jsonl"))
    assert by_glob == before
    two = documents(corpus(tmp_path / "old/en", tmp_path / "old/de"))
    assert two == documents(corpus(tmp_path / "new/home/en", tmp_path / "new/home/de"))


def test_ids_of_the_sample_are_frozen() -> None:
    """Whoever joins on `id` relies on it."""
    assert ids(corpus("configs/sample/c4.jsonl"))[0] == "1bd45354c8a79b045a28f13949e63825"


def test_two_folders_with_equal_names(tmp_path: Path) -> None:
    """Every file is read, under an id of its own; only what is equal gets a longer name."""
    for language in ("en", "de"):
        write(tmp_path / "x" / language / "a.jsonl", line(f"{language} a"))
    write(tmp_path / "x" / "en" / "b.jsonl", line("en b"))
    write(tmp_path / "y" / "en" / "a.jsonl", line("y en a"))
    folders = [tmp_path / "x" / "en", tmp_path / "x" / "de", tmp_path / "y" / "en"]
    source = corpus(*folders)
    names = {row["doc_id"]: row["original"] for rows in documents(source) for row in rows}
    assert names == {
        "x/en/a.jsonl/0": "en a",
        "de/a.jsonl/0": "de a",
        "y/en/a.jsonl/0": "y en a",
        "b.jsonl/0": "en b",
    }
    assert len(set(ids(source))) == 4
    assert sorted(ids(source)) == sorted(ids(corpus(*reversed(folders))))
    assert [row["source"] for rows in documents(source) for row in rows] == ["b", "de", "en", "en"]


def test_a_longer_name_that_another_file_has(tmp_path: Path) -> None:
    write(tmp_path / "p" / "en" / "a.jsonl", line("p"))
    write(tmp_path / "q" / "en" / "a.jsonl", line("q"))
    write(tmp_path / "q" / "de" / "a.jsonl", line("r"))
    source = corpus(tmp_path / "p", tmp_path / "q/en", tmp_path / "q/de")
    assert sorted(texts(source)) == ["p", "q", "r"]
    assert len(set(ids(source))) == 3


def test_patterns_that_overlap_read_a_file_once(tmp_path: Path) -> None:
    write(tmp_path / "sub" / "a.jsonl", line("a"))
    write(tmp_path / "b.jsonl", line("b"))
    patterns = [tmp_path, tmp_path / "sub" / "*.jsonl", tmp_path / "b.jsonl", f"file://{tmp_path}"]
    source = corpus(*patterns)
    assert sorted(texts(source)) == ["a", "b"]
    assert sorted(ids(source)) == sorted(ids(corpus(tmp_path)))


def test_splits_have_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("b/2.jsonl", "a/9.jsonl", "b/10.jsonl"):
        write(tmp_path / name, line(name))
    source = corpus(tmp_path / "b", tmp_path / "a")
    assert [split.name for split in source.splits()] == ["00000", "00001", "00002"]
    assert texts(source) == ["b/10.jsonl", "b/2.jsonl", "a/9.jsonl"]
    assert source.splits() == source.splits() == corpus(tmp_path / "a", tmp_path / "b").splits()


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("", ["1", "2", "3"]),
        ("*.jsonl", ["1"]),
        ("**/*.jsonl", ["1", "2", "3"]),
        ("d/*", ["2"]),
        ("d/e/c.jsonl", ["3"]),
        ("d/[a-b].jsonl", ["2"]),
        ("d/?.jsonl", ["2"]),
    ],
)
def test_files_folders_and_globs(tmp_path: Path, pattern: str, found: list[str]) -> None:
    write(tmp_path / "a.jsonl", line("1"))
    write(tmp_path / "d" / "b.jsonl", line("2"))
    write(tmp_path / "d" / "e" / "c.jsonl", line("3"))
    write(tmp_path / "d" / ".hidden.jsonl", line("4"))
    assert sorted(texts(corpus(tmp_path / pattern))) == found


def test_any_file_system(tmp_path: Path) -> None:
    root = f"memory://{uuid.uuid4().hex}"
    fs = fsspec.filesystem("memory")
    fs.pipe_file(f"{root}/en/a.jsonl", line("a " * 100, id="x"))
    fs.pipe_file(f"{root}/de/b.jsonl.gz", gzip.compress(line("b")))
    write(tmp_path / "en" / "a.jsonl", line("a " * 100, id="x"))
    for paths in ([root], [f"{root}/*/*.jsonl*"]):
        assert texts(corpus(*paths)) == ["b", "a " * 100]
    one = documents(corpus(f"{root}/en/a.jsonl"))
    assert one == documents(corpus(tmp_path / "en/a.jsonl"))


@pytest.mark.parametrize(
    ("paths", "sentence"),
    [
        (["none.jsonl"], "none.jsonl: no such file, or a folder or pattern without files"),
        (["a.jsonl", "none/*.jsonl"], "none/*.jsonl: no such file, or a folder or pattern without"),
        (["a.jsonl", "empty"], "empty: no such file, or a folder or pattern without files"),
        (["?.parquet"], "?.parquet: no such file, or a folder or pattern without files"),
        (["a.txt"], "a.txt: not a corpus file; accepted: .jsonl, .json, "),
        (["texts"], "readme.md: not a corpus file; accepted: .jsonl, .json, "),
        (["nope://a"], "nope://a: cannot open this kind of location: "),
        (["zero"], "the corpus is empty: 2 files of no bytes"),
    ],
)
def test_a_corpus_that_cannot_be_used_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, paths: list[str], sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a.jsonl", line("a"))
    write(tmp_path / "a.txt", b"a")
    write(tmp_path / "texts" / "readme.md", b"a")
    for name in ("zero/a.jsonl", "zero/b.jsonl"):
        write(tmp_path / name)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError) as raised:
        corpus(*paths).splits()
    assert sentence in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Three files of 4, 2 and 3 records, some bad, the first one too."""
    write(tmp_path / "a.jsonl", b'{"id": 1}\n', line("a1"), b"\n", b"broken\n", line("a2 " * 99))
    write(tmp_path / "b.jsonl.zst", zstandard.compress(line("b1") + line("b2")))
    pq.write_table(pa.table({"text": ["c1", None, "c2"]}), tmp_path / "c.parquet")
    return tmp_path


def test_a_resume_gives_the_items_that_were_left(mixed: Path) -> None:
    source = corpus(mixed)
    for split in source.splits():
        every = list(source.read(split, 0))
        for start in range(len(every)):
            assert list(corpus(mixed).read(split, start)) == every[start:]


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5, 6, 7, 9, 100])
def test_limit_reads_the_first_records(mixed: Path, limit: int) -> None:
    def records(source: Corpus) -> list[Item]:
        return [item for item in items(source) if not isinstance(item, End)]

    source = corpus(mixed, limit=limit)
    assert records(source) == records(corpus(mixed))[:limit]
    whole = {split.path: split.bytes for split in corpus(mixed).splits()}
    assert all(split.bytes <= whole[split.path] for split in source.splits())
    for split in source.splits():
        every = list(source.read(split, 0))
        assert isinstance(every[-1], End)
        assert list(source.read(split, 1)) == every[1:]


def test_a_source_is_pickled_to_workers(mixed: Path) -> None:
    source = corpus(mixed)
    before = items(source)
    assert items(pickle.loads(pickle.dumps(source))) == before
    assert items(pickle.loads(pickle.dumps(corpus(mixed)))) == before


def test_every_text_of_the_sample_comes_back() -> None:
    source = corpus("configs/sample/*.jsonl", tokens=128)
    lines = [
        json.loads(entry)["text"]
        for path in sorted(Path("configs/sample").glob("*.jsonl"))
        for entry in path.read_text().splitlines()
    ]
    assert texts(source) == lines
    assert skips(source) == []


def named(source: Corpus) -> list[str]:
    return [rows[0]["doc_id"] for rows in documents(source)]


def many(tmp_path: Path, count: int = 400) -> Path:
    lines = [line(f"text {n}", **({"id": f"doc-{n}"} if n % 2 else {})) for n in range(count)]
    write(tmp_path / "c/a.jsonl", *lines[: count // 2])
    return write(tmp_path / "c/b.jsonl", b"{broken\n", *lines[count // 2 :]).parent


def test_shares_divide_a_corpus(tmp_path: Path) -> None:
    folder = many(tmp_path)
    whole = named(corpus(folder))
    parts = [named(corpus(folder, share=pair)) for pair in ([0, 0.5], [0.5, 1])]
    assert sorted(name for part in parts for name in part) == sorted(whole)
    assert 150 < len(parts[0]) < 250
    assert parts[0] == [name for name in whole if share(name) < 0.5]


def test_a_document_on_the_border_is_in_the_share_that_begins_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = many(tmp_path)
    monkeypatch.setattr("prewrite.rewrite.corpus.share", lambda doc_id: 0.5)
    kept = [len(named(corpus(folder, share=pair))) for pair in ([0, 0.5], [0.5, 1])]
    assert kept[0] == 0 and kept[1] == len(named(corpus(folder)))


def test_the_share_of_a_document_is_the_same_for_ever() -> None:
    assert round(share("doc-1"), 6) == 0.986995
    assert share("a\ud800b") < 1
    drawn = [share(str(n)) for n in range(2000)]
    assert min(drawn) >= 0 and max(drawn) < 1 and 0.48 < sum(drawn) / 2000 < 0.52


def test_what_is_left_out_of_a_share_is_counted(tmp_path: Path) -> None:
    found = items(corpus(many(tmp_path), share=[0, 0.25], max_bad_rows=1))
    left_out = [item for item in found if isinstance(item, LeftOut)]
    assert {item.reason for item in left_out} == {"share"}
    assert len(left_out) + len([i for i in found if isinstance(i, Document)]) == 400
    assert len([item for item in found if isinstance(item, Skipped)]) == 1


@pytest.mark.parametrize(("limit", "layout"), [(20, "text"), (70, "auto")])
def test_limit_counts_what_a_share_keeps(tmp_path: Path, layout: str, limit: int) -> None:
    folder = many(tmp_path)
    whole = corpus(folder, share=[0.5, 0.75])
    source = corpus(folder, share=[0.5, 0.75], limit=limit, layout=layout)
    kept = [i for i in items(whole) if isinstance(i, Document | Skipped)]
    found = [i for i in items(source) if isinstance(i, Document | Skipped)]
    assert found == kept[:limit]
    splits = source.splits()
    assert limit > 20 or (len(splits) == 1 and (splits[0].records or 0) < 150)


def test_a_resume_of_a_share_gives_the_items_that_were_left(tmp_path: Path) -> None:
    source = corpus(many(tmp_path, 20), share=[0.2, 0.6])
    for split in source.splits():
        whole = [*source.read(split, 0)]
        for start in range(len(whole)):
            assert [*source.read(split, start)] == whole[start:]


@pytest.mark.parametrize("share", [[0.5], [0, 1.5], [0.6, 0.4], [0.5, 0.5], [-0.1, 1], [0, 0.1, 1]])
def test_a_share_that_is_none_is_one_sentence(share: list[float]) -> None:
    with pytest.raises(ValueError, match=r"share: found .*; accepted: two numbers, the first at"):
        InputConfig(paths=["a"], share=share)

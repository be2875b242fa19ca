"""What `prewrite shards export` writes is what the set holds, and others load it."""

import json
import tracemalloc
from pathlib import Path
from typing import Any

import datasets
import fsspec
import pyarrow.parquet as pq
import pytest

from prewrite.base.errors import ShardError
from prewrite.base.whole import written
from prewrite.shards.export import PROMPT_TOKENS, Export, prompt
from prewrite.shards.export_files import export
from prewrite.shards.reader import ShardSet
from prewrite.shards.schema import TEXTS, Row, best_of
from tests.commands import shards as main
from tests.shards.scored import scored_set
from tests.train.data.sets import write_set


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    return scored_set(tmp_path_factory.mktemp("scored") / "set")


@pytest.fixture(scope="module")
def rows(url: str) -> list[Row]:
    return list(ShardSet(url).rows())


def exported(url: str, target: Path, *options: str) -> list[dict[str, Any]]:
    assert main(["export", url, "--to", str(target), *options]) == 0
    if target.suffix == ".parquet":
        return list(pq.read_table(target).to_pylist())
    return [json.loads(line) for line in target.read_text().splitlines()]


def test_documents_are_their_best_chunks_joined(url: str, rows: list[Row], tmp_path: Path) -> None:
    found = exported(url, tmp_path / "a.jsonl")
    expected: dict[str, list[str]] = {}
    for row in rows:
        scores = (row["rewrite_score"], row["original_score"])
        better = None not in scores and scores[0] > scores[1]
        expected.setdefault(row["doc_id"], []).append(row["rewrite" if better else "original"])
    assert {record["id"]: record["text"] for record in found} == {
        name: "".join(texts) for name, texts in expected.items()
    }
    assert [record["id"] for record in found] == list(expected)
    assert any(0 < record["rewritten"] < record["chunks"] for record in found)


def test_both_formats_hold_the_same_records(url: str, tmp_path: Path) -> None:
    for each in ("document", "chunk", "pair"):
        lines = exported(url, tmp_path / "a.jsonl", "--each", each)
        assert lines == exported(url, tmp_path / "a.parquet", "--each", each)


def test_chunks_say_which_text_was_taken(url: str, rows: list[Row], tmp_path: Path) -> None:
    found = exported(url, tmp_path / "a.parquet", "--each", "chunk")
    assert [record["id"] for record in found] == [row["id"] for row in rows]
    for record, row in zip(found, rows, strict=True):
        assert record["text"] == row[record["candidate"]]
        assert record["score"] == row[f"{record['candidate']}_score"]
    assert {record["candidate"] for record in found} == {"original", "rewrite"}


def test_pairs_have_two_scores_that_differ(url: str, rows: list[Row], tmp_path: Path) -> None:
    found = {row["id"]: row for row in exported(url, tmp_path / "a.jsonl", "--each", "pair")}
    scored = [row for row in rows if None not in (row["original_score"], row["rewrite_score"])]
    assert set(found) == {
        row["id"] for row in scored if row["original_score"] != row["rewrite_score"]
    }
    for row in rows:
        if pair := found.get(row["id"]):
            assert pair["score_chosen"] > pair["score_rejected"]
            assert pair["chosen"] == row[best_of(row, TEXTS) or "original"]
            assert {pair["chosen"], pair["rejected"]} == {row["original"], row["rewrite"]}
            before = [r for r in rows if r["doc_id"] == row["doc_id"] and r["chunk"] < row["chunk"]]
            assert pair["prompt"] == "".join(r["original"] for r in before)


def test_a_prompt_is_the_end_of_what_stands_before() -> None:
    def row(text: str, tokens: int) -> Row:
        return {"original": text, "original_tokens": tokens}

    assert prompt([]) == ""
    assert prompt([row("a", 6), row("b", 5), row("c", 5)], 10) == "bc"
    assert prompt([row("0123456789" * 4, 20)], 10) == "0123456789" * 2
    assert prompt([row("0123456789", PROMPT_TOKENS + 1), row("b", 1)]) == "b"


def test_a_filter_takes_rows_and_whole_documents(
    url: str, rows: list[Row], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    condition = "rewrite_score is not None and source == 'c4'"
    chunks = exported(url, tmp_path / "a.jsonl", "--each", "chunk", "--filter", condition)
    passing = [r for r in rows if r["rewrite_score"] is not None and r["source"] == "c4"]
    assert [record["id"] for record in chunks] == [row["id"] for row in passing]
    assert f"{len(rows) - len(passing)} left out by the filter" in capsys.readouterr().out
    whole = exported(url, tmp_path / "a.jsonl", "--filter", condition)
    failing = {row["doc_id"] for row in rows} - {row["doc_id"] for row in passing}
    failing |= {row["doc_id"] for row in rows if row["rewrite_score"] is None}
    assert {record["id"] for record in whole} == {row["doc_id"] for row in rows} - failing


def test_datasets_loads_every_export(url: str, tmp_path: Path) -> None:
    for each in ("document", "chunk", "pair"):
        for kind, suffix in (("json", "jsonl"), ("parquet", "parquet")):
            target = tmp_path / f"{each}.{suffix}"
            found = exported(url, target, "--each", each)
            loaded = datasets.load_dataset(
                kind, data_files=str(target), split="train", cache_dir=str(tmp_path / "cache")
            )
            assert loaded.to_list() == found


def test_memory_does_not_grow_with_the_set(tmp_path: Path) -> None:
    """Ten times the set, the same peak: rows come and go in batches."""

    def peak(parts: int) -> int:
        text = "a word and another one " * 400
        one = {"original": text, "rewrite": text[1:], "original_score": 0.0, "rewrite_score": 1.0}
        given = {**one, "original_quality": 0.0, "rewrite_quality": 1.0}
        folder = tmp_path / str(parts)
        url = write_set(folder, [[[given] for _ in range(600)] for _ in range(parts)])
        tracemalloc.start()
        try:
            export(Export(url, "pair"), f"{folder}.jsonl")
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(10) < 1.5 * peak(1)


MISTAKES = [
    (["--to", "a.csv"], "--to: found 'a.csv'; accepted: a file that ends in .jsonl or .parquet"),
    (["--to", "a.jsonl", "--filter", "nothing > 1"], "--filter: found the name 'nothing'"),
    (["--to", "a.jsonl", "--filter", "chunk < 0"], "nothing to export: 0 documents ("),
]


@pytest.mark.parametrize(("options", "sentence"), MISTAKES)
def test_a_mistake_is_one_sentence_and_writes_nothing(
    options: list[str],
    sentence: str,
    url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["export", url, *options]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1 and sentence in errors[0]
    assert not list(tmp_path.iterdir())


def test_no_file_of_the_set_can_be_replaced(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = ShardSet(url).folder.names()
    assert main(["export", url, "--to", f"{url}/part-00000.parquet"]) == 2
    assert "inside of the set" in capsys.readouterr().err
    (tmp_path / "link").symlink_to(url)
    (tmp_path / "deep").mkdir()
    for other in ("link", "deep/../link", f"deep/../../{tmp_path.name}/link"):
        assert main(["export", url, "--to", f"{tmp_path}/{other}/part-00000.parquet"]) == 2
        assert "inside of the set" in capsys.readouterr().err
    assert ShardSet(url).folder.names() == before


def test_a_set_without_scores_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = write_set(tmp_path / "set", [[[{"original": "text"}]]], criteria=())
    assert main(["export", url, "--to", str(tmp_path / "a.jsonl")]) == 2
    assert "found a set without scores; accepted: a judged set" in capsys.readouterr().err


def test_what_fails_half_way_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "a.jsonl"
    target.write_text("old")
    with pytest.raises(ZeroDivisionError), written(str(target)) as stream:
        stream.write(b"new")
        raise ZeroDivisionError
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]


def test_another_file_system(url: str, tmp_path: Path) -> None:
    export(Export(url, "chunk"), "memory://out/a.jsonl")
    with fsspec.open("memory://out/a.jsonl", "rb") as stream:
        assert stream.read() == b"".join(
            (json.dumps(r, ensure_ascii=False) + "\n").encode() for r in Export(url, "chunk")
        )


def test_what_an_object_store_refuses_is_one_sentence(url: str) -> None:
    with pytest.raises(ShardError, match="cannot write"), written("memory://x/a") as _:
        raise FileNotFoundError("no such bucket")

"""Corpora in their published form: found out by their first records, read to the last byte."""

import json
from pathlib import Path

import pytest

from prewrite.base.cli import ending
from prewrite.base.errors import InputError
from tests.rewrite.corpora import corpus, rows
from tests.rewrite.published import SHARD, WRITERS, jsonl, put, texts

SOURCES = {
    "redpajama-v1": {"arxiv", "c4", "common_crawl"},
    "redpajama-v1 raw": {"arxiv", "common_crawl", "wikipedia"},
    "redpajama-v2": {"2023-06"},
    "slimpajama": {"RedPajamaC4", "RedPajamaWikipedia"},
    "dolma": {"c4", "wiki"},
    "fineweb": {"CC-MAIN-2013-20"},
    "fineweb-edu": {"CC-MAIN-2013-20"},
    "text": {"mine"},
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_published_corpus_is_read_as_it_is(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path)
    found = rows(corpus(tmp_path))
    assert sorted(row["original"] for row in found) == sorted(texts())
    assert {row["source"] for row in found} == SOURCES[name]
    for column in ("id", "doc_id"):
        assert len({row[column] for row in found}) == len(found)
    named = rows(corpus(tmp_path, layout=name.split()[0]))
    assert named == found


@pytest.mark.parametrize(
    ("name", "doc_id", "meta"),
    [
        ("redpajama-v1", "arxiv_sample.jsonl/0", {"meta": "{'url': None, 'n': 0}"}),
        (
            "redpajama-v1 raw",
            "arxiv/arxiv_023827cd-7ee8.jsonl/0",
            {"meta": {"arxiv_id": "1", "language": "en"}},
        ),
        (
            "slimpajama",
            "train/chunk1/example_train_0.jsonl.zst/0",
            {"meta": {"redpajama_set_name": "RedPajamaC4"}},
        ),
        ("text", "mine/a.jsonl/0", {}),
    ],
)
def test_the_first_document_of_a_layout(
    tmp_path: Path, name: str, doc_id: str, meta: object
) -> None:
    WRITERS[name](tmp_path)
    first = rows(corpus(tmp_path))[0]
    assert (first["doc_id"], json.loads(first["meta"])) == (doc_id, meta)


@pytest.mark.parametrize("name", ["redpajama-v2", "dolma", "fineweb", "fineweb-edu"])
def test_every_other_field_goes_into_meta(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path)
    found = set(json.loads(rows(corpus(tmp_path))[0]["meta"]))
    assert found == {
        "redpajama-v2": {"url", "date_download", "digest", "length", "nlines", "source_domain",
            "title", "cc_segment", "original_nlines", "original_length", "line_ids", "language",
            "language_score", "perplexity", "bucket"},
        "dolma": {"added", "created", "version", "metadata"},
        "fineweb": {"url", "date", "file_path", "language", "language_score", "token_count"},
        "fineweb-edu": {"url", "date", "file_path", "language", "language_score", "token_count",
            "score", "int_score"},
    }[name]  # fmt: skip


@pytest.mark.parametrize("below", ["", "documents", "documents/2023-06/0000"])
def test_documents_of_redpajama_v2_have_their_published_ids(tmp_path: Path, below: str) -> None:
    """Wherever the pattern begins; and what stands beside documents is never read as one."""
    WRITERS["redpajama-v2"](tmp_path)
    found = rows(corpus(tmp_path / below))
    assert [row["doc_id"] for row in found] == [f"{SHARD}.json.gz/{n}" for n in range(len(texts()))]


@pytest.mark.parametrize(
    ("one", "other"), [("dolma", "fineweb"), ("fineweb", "fineweb-edu"), ("redpajama-v1", "text")]
)
def test_two_layouts_in_one_corpus_are_an_error(tmp_path: Path, one: str, other: str) -> None:
    for name in (one, other):
        WRITERS[name](tmp_path / name)
    source = corpus(tmp_path)
    with pytest.raises(InputError) as raised:
        source.splits()
    sentence = str(raised.value)
    for name in (one, other):
        assert f"{name} in {tmp_path / name}/" in sentence
    assert "\n" not in sentence and sentence.startswith("found two layouts: ")
    assert "accepted: one, or input.layout that names it" in sentence
    assert ending(lambda: print(source.splits())) == 1
    assert len(rows(corpus(tmp_path, layout="text"))) == 2 * len(texts())


def test_a_file_without_any_layout_does_not_make_two(tmp_path: Path) -> None:
    WRITERS["dolma"](tmp_path)
    put(tmp_path / "odd.jsonl", jsonl([{"body": "x"}]))
    put(tmp_path / "late.jsonl", jsonl([{"body": "x"}, {"text": "a", "id": "1", "source": "b"}]))
    assert len(rows(corpus(tmp_path))) == len(texts()) + 1


def test_plain_text_in_a_configured_field(tmp_path: Path) -> None:
    put(tmp_path / "web/a.jsonl", jsonl([{"body": t, "title": "T", "text": 5} for t in texts()]))
    found = rows(corpus(tmp_path, layout="text", text_field="body"))
    assert [row["original"] for row in found] == texts()
    assert json.loads(found[0]["meta"]) == {"title": "T", "text": 5}
    assert found[0]["source"] == "web"

"""RedPajama v2's join: by id, in a stream, and every document that is left out is counted."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from prewrite.base.config import load
from prewrite.base.errors import ConfigError, InputError
from prewrite.pipeline.passes import Item
from prewrite.rewrite.config import InputConfig, RewriteRecipe
from prewrite.rewrite.corpus import Corpus
from prewrite.rewrite.passes import RewritePass
from prewrite.rewrite.signals import SIGNALS, signal_filter, value
from tests.rewrite.corpora import corpus, items, left_out, rows
from tests.rewrite.published import SHARD, jsonl, parquet, perplexity, put, redpajama_v2, texts

SIGNALS_FILE = f"quality_signals/{SHARD}.signals.json.gz"
DOCUMENTS_FILE = f"documents/{SHARD}.json.gz"
DUPLICATES_FILE = f"duplicates/{SHARD}.duplicates.parquet"


@pytest.fixture
def published(tmp_path: Path) -> Path:
    redpajama_v2(tmp_path)
    return tmp_path


def v2(folder: Path, **options: Any) -> Corpus:
    return corpus(folder, layout="redpajama-v2", **options)


def signals(folder: Path) -> list[dict[str, Any]]:
    data = gzip.decompress((folder / SIGNALS_FILE).read_bytes())
    return [json.loads(line) for line in data.splitlines()]


def test_a_filter_on_signals_takes_what_it_says(published: Path) -> None:
    source = v2(published, filter="ccnet_perplexity < 300")
    expected = [(row, text) for row, text in enumerate(texts()) if perplexity(text) < 300]
    assert 0 < len(expected) < len(texts())
    found = rows(source)
    assert [(row["doc_id"], row["original"]) for row in found] == [
        (f"{SHARD}.json.gz/{row}", text) for row, text in expected
    ]
    assert left_out(source) == ["filtered"] * (len(texts()) - len(expected))
    for row in found:
        joined = json.loads(row["meta"])["quality_signals"]
        assert joined == {"ccnet_perplexity": perplexity(row["original"])}


def test_ids_do_not_depend_on_the_filter(published: Path) -> None:
    every = {row["doc_id"]: row["id"] for row in rows(v2(published))}
    some = {row["doc_id"]: row["id"] for row in rows(v2(published, filter="ccnet_bucket == 0"))}
    assert some == every


def test_duplicates_can_be_left_out(published: Path) -> None:
    assert left_out(v2(published)) == []
    source = v2(published, duplicates="leave_out")
    assert left_out(source) == ["duplicate"] * 2
    names = [row["doc_id"] for row in rows(source)]
    assert not {f"{SHARD}.json.gz/1", f"{SHARD}.json.gz/4"} & set(names)
    assert len(names) == len(texts()) - 2
    both = v2(published, duplicates="leave_out", filter="rps_doc_ldnoobw_words >= 5")
    assert left_out(both).count("duplicate") == 2
    assert len(items(both)) == len(texts()) + 1


@pytest.mark.parametrize(
    ("spans", "meaning"),
    [
        ([[0, 9, 3.5]], 3.5),
        ([[0, 9, None]], None),
        ([], None),
        ([[0, 4, 1.0], [4, 9, 0.0], [9, 12, 0.0], [12, 14, 1]], 0.5),
        ([[0, 4, 1.0], [4, 9, None]], 1.0),
    ],
)
def test_what_a_name_means(spans: object, meaning: float | None) -> None:
    assert value(spans) == meaning


def test_a_signal_that_a_document_lacks_is_null(published: Path) -> None:
    assert not rows(v2(published, filter="rps_doc_ml_palm_score > 0"))
    assert len(rows(v2(published, filter="rps_doc_ml_palm_score is None"))) == len(texts())


def test_the_shipped_selection_of_unsafe_documents(published: Path) -> None:
    """Against the published numbers, spelled out once more."""
    text = load(RewriteRecipe, "configs/paper-safety.yaml").input.filter
    assert text
    names = signal_filter(text).columns
    expected = []
    for record in signals(published):
        s = {name: value(record["quality_signals"].get(name, [])) for name in names}
        numbers = {name: -1.0 if score is None else score for name, score in s.items()}
        if (
            50 <= numbers["rps_doc_word_count"] <= 100_000
            and 3 <= numbers["rps_doc_mean_word_length"] <= 10
            and 0 <= numbers["rps_doc_symbol_to_word_ratio"] <= 0.1
            and 0 <= numbers["rps_lines_start_with_bulletpoint"] <= 0.9
            and 0 <= numbers["rps_doc_frac_chars_top_2gram"] <= 0.2
            and numbers["rps_doc_ldnoobw_words"] >= 5
            and s["rps_doc_ut1_blacklist"] is not None
        ):
            expected.append(record["id"])
    assert 0 < len(expected) < len(texts())
    assert [row["doc_id"] for row in rows(v2(published, filter=text))] == expected


def test_a_resume_joins_the_rows_that_were_left(published: Path) -> None:
    def read(start: int) -> list[Item]:
        source = v2(published, filter="ccnet_perplexity < 300", duplicates="leave_out")
        return list(source.read(source.splits()[0], start))

    every = read(0)
    for start in range(len(every)):
        assert read(start) == every[start:]


def test_a_bad_document_takes_its_row_of_signals(published: Path) -> None:
    lines = gzip.decompress((published / DOCUMENTS_FILE).read_bytes()).splitlines(keepends=True)
    lines[0], lines[2] = b"{broken\n", b'"' + b"x" * 5000 + b'"\n'
    put(published / DOCUMENTS_FILE, b"".join(lines))
    source = v2(published, filter="ccnet_bucket == 0", max_record_bytes=4900)
    names = [row["doc_id"] for row in rows(source)]
    expected = [n for n, line in enumerate(lines) if n and len(line) <= 4901]
    assert names == [f"{SHARD}.json.gz/{n}" for n in expected]


def drop_row(folder: Path) -> None:
    put(folder / SIGNALS_FILE, jsonl([one for n, one in enumerate(signals(folder)) if n != 3]))


def drop_last_row(folder: Path) -> None:
    put(folder / SIGNALS_FILE, jsonl(signals(folder)[:-1]))


def add_row(folder: Path) -> None:
    found = signals(folder)
    put(folder / SIGNALS_FILE, jsonl([*found, found[0] | {"id": f"{SHARD}.json.gz/{len(found)}"}]))


def break_row(folder: Path) -> None:
    put(folder / SIGNALS_FILE, jsonl(signals(folder)[:2]) + b"{broken\n")


def no_signals(folder: Path) -> None:
    put(folder / SIGNALS_FILE, jsonl([one | {"quality_signals": 5} for one in signals(folder)]))


def odd_signals(folder: Path) -> None:
    odd = {"quality_signals": {"ccnet_perplexity": [["a"]]}}
    put(folder / SIGNALS_FILE, jsonl([one | odd for one in signals(folder)]))


def cut_signals(folder: Path) -> None:
    path = folder / SIGNALS_FILE
    path.write_bytes(path.read_bytes()[:-30])


def foreign_duplicates(folder: Path) -> None:
    parquet(folder / DUPLICATES_FILE, [{"doc_id": "2014-15/0000/en_head.json.gz/1"}])


def broken_duplicates(folder: Path) -> None:
    (folder / DUPLICATES_FILE).write_bytes(b"no parquet")


def skipped_duplicates(folder: Path) -> None:
    """The header of the only page names a kind that Arrow does not know, and so skips."""
    path = folder / DUPLICATES_FILE
    parquet(path, [{"doc_id": f"{SHARD}.json.gz/1"}])
    data = bytearray(path.read_bytes())
    column = pq.ParquetFile(path).metadata.row_group(0).column(0)
    data[column.data_page_offset + 1] = 8
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (drop_row, f"line 4: found the id '{SHARD}.json.gz/4'; accepted: '{SHARD}.json.gz/3'"),
        (drop_last_row, f"{DOCUMENTS_FILE}: more rows than "),
        (add_row, f"{DOCUMENTS_FILE}: fewer rows than "),
        (break_row, f"{SIGNALS_FILE} line 3: no row of signals: broken_json"),
        (no_signals, f"{SIGNALS_FILE} line 1: no row of signals: no quality_signals"),
        (odd_signals, f"{SIGNALS_FILE} line 1: no row of signals: no quality_signals"),
        (cut_signals, "no row of signals: truncated_or_damaged_archive"),
        (foreign_duplicates, "found the doc_id '2014-15/0000/en_head.json.gz/1'; accepted: "),
        (broken_duplicates, f"{DUPLICATES_FILE}: damaged, or no Parquet file with a column doc_id"),
        (skipped_duplicates, f"{DUPLICATES_FILE}: damaged, or no Parquet file with"),
    ],
)
def test_files_that_do_not_fit_are_one_sentence(
    published: Path, damage: Callable[[Path], None], sentence: str
) -> None:
    damage(published)
    with pytest.raises(InputError) as raised:
        items(v2(published, filter="ccnet_perplexity > 0", duplicates="leave_out"))
    assert sentence in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", [SIGNALS_FILE, DUPLICATES_FILE])
def test_a_file_that_is_missing_is_found_before_any_work(published: Path, name: str) -> None:
    (published / name).unlink()
    source = v2(published, filter="ccnet_perplexity > 0", duplicates="leave_out")
    with pytest.raises(InputError, match=f"{name}: cannot read: No such file"):
        source.beside()


def test_the_join_needs_the_published_folders(tmp_path: Path) -> None:
    put(tmp_path / "a.json.gz", jsonl([{"raw_content": "a"}]))
    assert rows(v2(tmp_path))[0]["doc_id"] == "a.json.gz/0"
    with pytest.raises(InputError, match=r"a\.json\.gz: found no folder 'documents'"):
        v2(tmp_path, filter="ccnet_perplexity > 0").beside()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"filter": "ccnet_perplexity < 300"}, "filter: found 'ccnet_perplexity < 300'; accepted"),
        ({"duplicates": "leave_out", "layout": "dolma"}, "accepted with layout: redpajama-v2"),
        ({"text_field": "body"}, "text_field: found 'body'; accepted with layout: text"),
        (
            {"layout": "redpajama-v2", "filter": "perplexity < 3"},
            "did you mean 'ccnet_perplexity'?",
        ),
        ({"layout": "redpajama-v2", "filter": "print(1)"}, "input.filter: found 'print(1)'"),
        ({"layout": "redpajama-v2", "filter": "ccnet_length > 'a'"}, "input.filter: found "),
        ({"layout": "redpajamas"}, "layout"),
    ],
)
def test_a_wrong_configuration_is_told(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises((ConfigError, ValueError)) as raised:
        InputConfig(paths=["a"], **options)
    assert sentence in str(raised.value)


def test_what_is_joined_belongs_to_the_configuration(published: Path, tmp_path: Path) -> None:
    """A set made with other signals is another set."""
    recipe = load(
        RewriteRecipe,
        "configs/paper-safety.yaml",
        [f"input.paths=[{published}]", f"output={tmp_path}-set"],
    )
    before = RewritePass(recipe).identity()
    assert RewritePass(recipe).identity() == before
    put(published / SIGNALS_FILE, jsonl([one | {"more": "x" * 99} for one in signals(published)]))
    assert RewritePass(recipe).identity() != before


def test_there_are_the_published_signals() -> None:
    assert len(set(SIGNALS)) == len(SIGNALS) == 42


def test_limit_counts_the_documents_that_the_filter_keeps(published: Path) -> None:
    """So a limit is a number of samples, whatever share of a corpus passes."""
    whole = rows(v2(published, filter="rps_doc_ldnoobw_words >= 5"))
    some = rows(v2(published, filter="rps_doc_ldnoobw_words >= 5", limit=2))
    names = [*dict.fromkeys(row["doc_id"] for row in whole)]
    assert len(names) > 2 and [*dict.fromkeys(row["doc_id"] for row in some)] == names[:2]

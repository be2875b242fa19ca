"""Filters choose rows as the same condition in Python does, and refuse whatever is no condition."""

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prewrite.base.errors import ConfigError
from prewrite.base.share import share
from prewrite.shards.filters import parse_filter
from prewrite.shards.schema import schema

SCHEMA = schema(["quality"])
ROWS: list[dict[str, Any]] = [
    {"source": "c4", "chunk": 0, "original_score": 0.9, "rewrite_score": 1.0, "rewrite": "x"},
    {"source": "wiki", "chunk": 1, "original_score": 0.5, "rewrite_score": None, "rewrite": None},
    {"source": "it's", "chunk": 2, "original_score": None, "rewrite_score": 0.2, "rewrite": "y"},
    {"source": None, "chunk": 3, "original_score": 0.1, "rewrite_score": 0.1, "rewrite": "c4"},
]
TABLE = pa.Table.from_pylist(ROWS, pa.schema([SCHEMA.field(name) for name in ROWS[0]]))


def kept(text: str) -> list[int]:
    mask = parse_filter(text, SCHEMA, "key").mask(TABLE)
    return [number for number, keep in enumerate(mask) if keep]


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("rewrite_score > original_score", [0]),
        ("rewrite_score >= original_score and source == 'c4'", [0]),
        ("original_score >= 0.9", [0]),  # 0.9 as float32 is less than 0.9
        ("original_score in (0.9, 0.1)", [0, 3]),
        ("0.1 < original_score <= 0.5", [1]),
        ("-1 < chunk < 1.5", [0, 1]),
        ("chunk in (0, 2.0)", [0, 2]),
        ("chunk in [99]", []),
        ("source in ('c4', \"it's\")", [0, 2]),
        ("source not in ('c4',)", [1, 2]),  # a null is neither in nor not in
        ("source in ()", []),
        ("source != 'c4'", [1, 2]),
        ("not source == 'c4'", [1, 2, 3]),
        ("rewrite_score is None", [1]),
        ("rewrite_score is not None and not rewrite_score > 0.5", [2, 3]),
        ("chunk == 0 or chunk == 2 or rewrite == source", [0, 2]),
        ("rewrite == 'c4'", [3]),
        (" chunk > 3000000000 ", []),
        ("rewrite_score > -1e300", [0, 2, 3]),
    ],
)
def test_a_filter_keeps_the_rows_for_which_it_holds(text: str, rows: list[int]) -> None:
    assert kept(text) == rows


def test_a_filter_knows_its_columns() -> None:
    found = parse_filter("rewrite_score > original_score and chunk in (1, 2)", SCHEMA, "key")
    assert found.columns == {"rewrite_score", "original_score", "chunk"}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("rewrite_scor > 1", "the name 'rewrite_scor' in `rewrite_scor > 1`; did you mean 'rewrit"),
        ("source > 1", "'source' beside '1'"),
        ("source in (1,)", "'source' beside '1'"),
        ("source == None", "'None'"),
        ("chunk is 1", "'1' after is"),
        ("1 is None", "'1'"),
        ("chunk > True", "'True'"),
        ("True", "'True'"),
        ("source", "'source'"),
        ("chunk in source", "'source' after in"),
        ("chunk in [source]", "'source'"),
        ("chunk + 1 > 2", "'chunk + 1'"),
        ("len(source) > 1", "'len(source)'"),
        ("source.x == 'a'", "'source.x'"),
        ("(lambda: 1)() > 0", "'(lambda: 1)()'"),
        ("__import__('os').system('true')", "'__import__('os').system('true')'"),
        ("f'{source}' == 'a'", "'f'{source}''"),
        ("chunk >", "no condition"),
        ("", "no condition"),
        ("\0", "no condition"),
        ("chunk > 9" + "9" * 30, "no condition"),
        ("(" * 3000, "no condition"),
        ("not " * 3000 + "chunk > 1", "no condition"),
        (" or ".join(["chunk == 1"] * 501), "501 comparisons, more than 500,"),
    ],
)
def test_anything_else_is_refused_in_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_filter(text, SCHEMA, "train.data.0.filter")
    said = str(error.value)
    assert said.startswith("train.data.0.filter: found ") and sentence in said
    assert "accepted: comparisons, and, or, not" in said and "rewrite_score" in said


def test_a_set_without_scores_has_no_score_columns() -> None:
    with pytest.raises(ConfigError, match="the name 'rewrite_score'"):
        parse_filter("rewrite_score > 1", schema(()), "key")


def test_the_most_comparisons_there_may_be_work() -> None:
    assert kept(" or ".join(f"chunk == {n}" for n in range(500))) == [0, 1, 2, 3]
    assert kept(f"chunk in {list(range(1, 50_000))}") == [1, 2, 3]


Meaning = Callable[[dict[str, Any]], bool]
Condition = tuple[str, Meaning]


def _compare(name: str, op: str, value: float) -> Condition:
    compare: dict[str, Callable[[float, float], bool]] = {
        "<": lambda a, b: a < b,
        ">=": lambda a, b: a >= b,
        "==": lambda a, b: a == b,
        "!=": lambda a, b: a != b,
    }
    return (
        f"{name} {op} {value}",
        lambda row: row[name] is not None and compare[op](row[name], value),
    )


leaves = st.builds(
    _compare,
    st.sampled_from(["chunk", "original_score", "rewrite_score"]),
    st.sampled_from(["<", ">=", "==", "!="]),
    st.sampled_from([0, 1, 0.5, 0.1, 2]),
)


def _combine(inner: st.SearchStrategy[Condition]) -> st.SearchStrategy[Condition]:
    def negated(one: Condition) -> Condition:
        return f"not ({one[0]})", lambda row: not one[1](row)

    def joined(one: Condition, op: str, two: Condition) -> Condition:
        both = all if op == "and" else any
        return f"({one[0]}) {op} ({two[0]})", lambda row: both([one[1](row), two[1](row)])

    return inner.map(negated) | st.builds(joined, inner, st.sampled_from(["and", "or"]), inner)


@settings(max_examples=60)
@given(st.recursive(leaves, _combine, max_leaves=6))
def test_a_filter_means_what_python_means(condition: Condition) -> None:
    text, meaning = condition
    assert kept(text) == [number for number, row in enumerate(ROWS) if meaning(row)]


@given(st.lists(st.text(max_size=9), max_size=20), st.floats(0, 1))
def test_no_document_falls_on_both_sides_of_a_border(names: list[str], border: float) -> None:
    """Every row of a document is on the side that `input.share` puts the document on."""
    doc_ids = names * 2
    table = pa.table({"doc_id": pa.array(doc_ids, pa.string())})
    below, above = (
        parse_filter(text, SCHEMA, "key").mask(table).tolist()
        for text in (f"share(doc_id) < {border}", f"share( doc_id ) >= {border}")
    )
    assert below == [share(doc_id) < border for doc_id in doc_ids]
    assert above == [not one for one in below]


def test_what_has_no_name_has_no_share() -> None:
    table = pa.table({"doc_id": pa.array([None, "a"], pa.string())})
    found = parse_filter("share(doc_id) < 1", SCHEMA, "key").mask(table)
    assert found.tolist() == [False, True]


def test_a_share_is_a_number_beside_others() -> None:
    rows = [{"doc_id": "a", "chunk": 0}, {"doc_id": "b", "chunk": 1}]
    table = pa.Table.from_pylist(rows, pa.schema([SCHEMA.field("doc_id"), SCHEMA.field("chunk")]))
    found = parse_filter("0 <= share(doc_id) < 1 and chunk < 1", SCHEMA, "key")
    assert found.columns == {"doc_id", "chunk"} and found.mask(table).tolist() == [True, False]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("share(source) < 0.5", "'share(source)'"),
        ("share(doc_id, 1) < 0.5", "'share(doc_id, 1)'"),
        ("share(doc_id)", "'share(doc_id)'"),
        ("share(doc_id) == 'a'", "'share(doc_id)' beside ''a''"),
        ("share(doc_id) is None", "'share(doc_id)'"),
        ("share(doc_id) in (0, 1)", "'share(doc_id)'"),
    ],
)
def test_a_share_is_of_a_document_and_is_compared(text: str, found: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_filter(text, SCHEMA, "key")
    assert f"key: found {found} in" in str(error.value)
    assert "texts, share(doc_id), and the columns" in str(error.value)


def test_where_documents_have_no_name_there_is_no_share() -> None:
    with pytest.raises(ConfigError, match="the name 'doc_id' in .* texts, and the columns length"):
        parse_filter("share(doc_id) < 0.5", pa.schema([("length", pa.float64())]), "input.filter")

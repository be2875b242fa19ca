"""Published record layouts: what each says, and what no reader of `meta` may choke on."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from prewrite.rewrite.layouts import (
    LAYOUTS,
    BadRecord,
    Parsed,
    clean,
    detect,
    layout_of,
    parse_line,
)

HUB = {"text": "Hi.", "red_pajama_subset": "arxiv"}
META = {"url": "http://a.b/c", "language": "en", "n": 1.5, "none": None, "yes": True}


def parse(record: dict[str, Any], path: str = "a.jsonl") -> Parsed:
    return LAYOUTS["redpajama-v1"].parse(record, path)


@pytest.mark.parametrize("meta", [META, json.dumps(META), repr(META)], ids=["dict", "json", "repr"])
def test_redpajama_v1_hub_form(meta: object) -> None:
    """A `meta` that is a text stays that text."""
    found = parse(HUB | {"meta": meta}, "part/000.jsonl")
    assert (found.text, found.doc_id, found.source) == ("Hi.", None, "arxiv")
    assert json.loads(found.meta) == {"meta": meta}


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("arxiv/arxiv_000.jsonl", "arxiv"),
        ("v1/common_crawl/2023-06/en_head_0000.json.gz", "common_crawl"),
        ("mine/part/x.jsonl", "part"),
        ("wikipedia.jsonl.zst", "wikipedia"),
        (".hidden/x.jsonl", ".hidden"),
    ],
)
def test_redpajama_v1_raw_form_has_its_subset_in_the_path(path: str, source: str) -> None:
    found = parse({"text": "Hi.", "meta": META}, path)
    assert found.source == source
    assert json.loads(found.meta) == {"meta": META}


@pytest.mark.parametrize(
    ("record", "doc_id"),
    [
        ({"id": "x", "doc_id": "y"}, "x"),
        ({"id": None, "doc_id": "y"}, "y"),
        ({"id": 0}, "0"),
        ({"id": 12345678901234567890}, "12345678901234567890"),
        ({"id": "a\ud800"}, "a?"),
        ({}, None),
    ],
)
def test_the_first_of_id_and_doc_id_names_the_document(
    record: dict[str, Any], doc_id: str | None
) -> None:
    found = parse({"text": "Hi."} | record)
    assert found.doc_id == doc_id
    assert "text" not in json.loads(found.meta)


def test_fields_that_are_used_are_not_told_twice() -> None:
    found = parse(HUB | {"id": "1", "doc_id": "2", "other": [1]})
    assert json.loads(found.meta) == {"doc_id": "2", "other": [1]}


def test_the_field_of_plain_text_is_configured() -> None:
    record = {"text": "a", "body": "b", "source": "c"}
    found = layout_of("text", "body").parse(record, "web/a.jsonl")
    assert (found.text, found.source, json.loads(found.meta)) == ("b", "c", {"text": "a"})
    assert layout_of("text", "text").parse(record, "web/a.jsonl").text == "a"
    assert layout_of("text", "text").parse({"text": "a", "source": 5}, "web/a.jsonl") == Parsed(
        "a", None, "web", '{"source": 5}'
    )


def test_ids_of_dolma_are_unique_within_a_source_only() -> None:
    records = [{"id": "7", "text": "a", "source": source} for source in ("c4", "wiki")]
    found = [LAYOUTS["dolma"].parse(record, "x/a.jsonl") for record in records]
    assert [one.doc_id for one in found] == ["c4/7", "wiki/7"]
    assert {one.meta for one in found} == {"{}"}


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({}, "no_text"),
        ({"text": None}, "no_text"),
        ({"raw_content": "a"}, "no_text"),
        ({"text": 5}, "text_is_no_string"),
        ({"text": ["a"]}, "text_is_no_string"),
        ({"text": {"a": 1}}, "text_is_no_string"),
        ({"text": b"bytes"}, "text_is_no_string"),
        ({"text": float("nan")}, "text_is_no_string"),
        ({"text": True}, "text_is_no_string"),
        ({"text": ""}, "blank_text"),
        ({"text": " \n\t\u00a0\u3000\x85\u2028"}, "blank_text"),
        ({"text": "a\ud800b"}, "lone_surrogate"),
    ],
)
def test_a_record_without_a_usable_text_has_its_reason(record: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadRecord, match=f"^{reason}$"):
        parse(record)


@pytest.mark.parametrize(
    "text", ["\x00", "\u200b", "\ufeff", "\ufffd", "a\u0301", "👩\u200d👩", "\U0010ffff"]
)
def test_odd_characters_are_text(text: str) -> None:
    assert parse({"text": text}).text == text


@pytest.mark.parametrize(
    "meta",
    [
        "{(1, 2): 3}",
        "{'inf': 1e999, 'a': ...}",
        '{"a": NaN}',
        '{"a" :  1,"a":2}',
        r"{'path': 'C:\dir\_x'}",
        "no structure",
        "__import__('os').getcwd()",
        "",
        "9" * 5000,
        "a\x00b",
        "a\ud800",
        "(" * 10_000,
        "[" * 100_000,
    ],
)
def test_a_meta_that_is_a_text_stays_that_text(meta: str) -> None:
    found = parse(HUB | {"meta": meta}).meta
    assert json.loads(found, parse_constant=pytest.fail) == {"meta": meta}


def test_numbers_that_are_no_json_become_texts() -> None:
    record = parse_line(b'{"text": "a", "x": NaN, "y": [1e999, -Infinity, 2.5], "z": {"k": null}}')
    text = parse(record).meta
    found = json.loads(text, parse_constant=pytest.fail)
    assert found == {"x": "nan", "y": ["inf", "-inf", 2.5], "z": {"k": None}}


def test_slimpajama_with_its_meta_as_a_text() -> None:
    meta = json.dumps({"redpajama_set_name": "RedPajamaC4"})
    found = LAYOUTS["slimpajama"].parse({"text": "a", "meta": meta}, "a.jsonl")
    assert (found.source, json.loads(found.meta)) == ("RedPajamaC4", {"meta": meta})


def test_an_id_that_is_nested_too_deeply_is_no_crash() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(BadRecord, match="^nested_too_deeply$"):
        parse({"text": "a", "id": deep})


def test_meta_that_is_nested_too_deeply_is_no_crash() -> None:
    """Whatever depth the interpreter can parse, the record is skipped or kept, never fatal."""
    for depth in (100, 900, 990, 1000, 5_000, 100_000):
        for inner in (b"", b"NaN"):
            line = b'{"text": "a", "x": ' + b"[" * depth + inner + b"]" * depth + b"}"
            try:
                json.loads(parse(parse_line(line)).meta)
            except BadRecord as bad:
                assert str(bad) in ("broken_json", "nested_too_deeply")
            except RecursionError:
                assert depth > 900  # the test's own json.loads


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"text": "a"', "broken_json"),
        (b"{'text': 'a'}", "broken_json"),
        (b'{"text": "a"} {"text": "b"}', "broken_json"),
        (b"\x00\x00\x00\x00", "broken_json"),
        (b'{"text": "\x01"}', "broken_json"),
        (b'{"n": ' + b"9" * 5000 + b"}", "broken_json"),
        (b"[" * 100_000, "broken_json"),
        (b'{"text": "caf\xe9"}', "not_utf8"),
        (b'["text", "a"]', "not_an_object"),
        (b'"text"', "not_an_object"),
        (b"null", "not_an_object"),
        (b"NaN", "not_an_object"),
    ],
)
def test_a_line_that_is_no_record_has_its_reason(line: bytes, reason: str) -> None:
    with pytest.raises(BadRecord, match=f"^{reason}$"):
        parse_line(line)


def by_json(line: bytes) -> str:
    """What the standard library makes of a line; a text, for NaN is not NaN, nor 0 other than 0."""
    try:
        found = json.loads(line)
    except UnicodeDecodeError:
        return "not_utf8"
    except ValueError:
        return "broken_json"
    return repr(found) if isinstance(found, dict) else "not_an_object"


_WORDS = st.text(st.characters(), max_size=5)  # lone surrogates too
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_WORDS, inner, max_size=3),
    max_leaves=8,
)
_LINES = st.builds(
    lambda fields, ascii: json.dumps(fields, ensure_ascii=ascii).encode("utf-8", "surrogatepass"),
    st.dictionaries(_WORDS, _JSON, max_size=4),
    st.booleans(),
)


@given(_LINES, st.binary(max_size=3), st.integers(0, 200), st.integers(0, 3))
@example(b'{"a": -0, "b": -0.0, "c": 1e400, "a": 18446744073709551616}', b"", 0, 0)
@example(b'{"a": 0.1e-400, "b": 12345678901234567890.5, "c": 5e-324, "d": 1E+2}', b"", 0, 0)
@example('{"a": "é"}'.encode("utf-16"), b"", 0, 0)
@example(b'{"a": "\\ud83d\\ude00 \\ud83d \\u0000"}', b"\x7f", 7, 0)
def test_a_line_is_what_the_standard_library_takes_it_for(
    line: bytes, more: bytes, at: int, less: int
) -> None:
    """Whole or damaged: with some bytes in place of others, or none."""
    line = line[:at] + more + line[at + less :]
    try:
        found = repr(parse_line(line))
    except BadRecord as bad:
        found = str(bad)
    assert found == by_json(line)


def test_a_line_may_begin_with_a_byte_order_mark_and_end_in_crlf() -> None:
    assert parse_line(b'\xef\xbb\xbf{"text": "a"}\r\n') == {"text": "a"}


@pytest.mark.parametrize(
    ("record", "layout"),
    [
        ({"text": 1}, "text"),
        ({"text": "a", "source": "b", "url": "c"}, "text"),
        ({"text": "a", "meta": {}}, "redpajama-v1"),
        ({"text": "a", "red_pajama_subset": "c4"}, "redpajama-v1"),
        ({"text": "a", "pred_label": "x", "source": "cc/2019-30"}, "redpajama-v1"),
        ({"text": "a", "meta": {"redpajama_set_name": "RedPajamaC4"}}, "slimpajama"),
        ({"text": "a", "meta": '{"redpajama_set_name": "RedPajamaC4"}'}, "slimpajama"),
        ({"text": "a", "meta": "{'redpajama_set_name': 'RedPajamaC4'}"}, "slimpajama"),
        ({"text": "a", "meta": "no redpajama_set_name"}, "redpajama-v1"),
        ({"text": "a", "id": "1", "source": "b"}, "dolma"),
        ({"raw_content": "a", "url": "b"}, "redpajama-v2"),
        ({"body": "a"}, None),
        ({}, None),
    ],
)
def test_a_record_tells_its_layout(record: dict[str, Any], layout: str | None) -> None:
    assert detect(record) == layout


def test_clean_takes_what_no_writer_takes() -> None:
    assert clean("a\udcffé\ud800") == "a?é?"

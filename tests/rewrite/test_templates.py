"""More than one rewrite of a text: real runs against a server that answers by echo."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from prewrite.base.errors import ConfigError
from prewrite.prompts.config import RewriteConfig
from prewrite.shards import names
from prewrite.shards.export import Export
from prewrite.shards.reader import ShardSet
from prewrite.shards.schema import TEXTS, best_of, refuse_hidden, schema, texts_of
from prewrite.shards.verify import verify
from tests.commands import judge, rewrite, shards
from tests.engine.fault_server import Call, Fault, FaultServer
from tests.pipeline.runs import corpus_lines, recipe
from tests.train.data.sets import write_set

NAMES = {"main": {"template": "cleanup"}, "plain": None, "safe": {"template": "safety"}}
INSTRUCTIONS = {"main": "clean up texts", "plain": "passage clearly", "safe": "make texts safe"}


def by_template(call: Call) -> str:
    """The name of the template that made a prompt; none for a verdict."""
    found = [name for name, words in INSTRUCTIONS.items() if words in call.text]
    return found[0] if call.body["max_tokens"] > 1 and found else ""


def told_apart(call: Call) -> Fault | None:
    """Each rewrite begins with the name of its template; those by `plain` of document 3 fail."""
    name = by_template(call)
    if name == "plain" and "Document 3" in call.text:
        return Fault(400)

    def edit(answer: dict[str, Any]) -> None:
        for choice in answer["choices"]:
            choice["message"]["content"] = f"By {name}: {choice['message']['content']}"

    return Fault(edit=edit) if name else None


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer(told_apart) as running:
        yield running


@pytest.fixture
def config(tmp_path: Path, server: FaultServer) -> Path:
    return written(tmp_path, server, NAMES)


def written(
    folder: Path, server: FaultServer, templates: dict[str, Any], judge: bool = True
) -> Path:
    (folder / "in.jsonl").write_bytes(corpus_lines(0, 5))
    data = yaml.safe_load(recipe(f"{folder}/in.jsonl", f"{folder}/set", server.url, judge=judge))
    data["rewrite"]["templates"] = templates
    (folder / "recipe.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    return folder / "recipe.yaml"


def test_each_template_fills_columns_of_its_own(config: Path, tmp_path: Path) -> None:
    assert rewrite(["--config", str(config)]) == 0
    found = ShardSet(f"{tmp_path}/set")
    assert verify(found.folder.url)["problems"] == []
    assert found.manifest.rewrites == ["main", "plain", "safe"]
    assert found.manifest.texts == ("original", "rewrite", "rewrite_plain", "rewrite_safe")
    for row in found.rows():
        assert row["rewrite"].strip().startswith("By main:")
        assert row["rewrite_safe"].strip().startswith("By safe:")
        failed = row["doc_id"].endswith("/3")
        assert row["rewrite_plain_status"] == ("failed" if failed else "ok")
        assert (row["rewrite_plain_reason"] or "").startswith("engine: " if failed else "")
        assert (row["rewrite_plain_score"] is None) == (row["rewrite_plain"] is None)
        assert row["rewrite_safe_quality"] is not None and row["rewrite_safety"] is not None
        assert row["best"] == best_of(row, found.manifest.texts)
    statuses = found.manifest.statuses
    broken = statuses["rewrite_plain: failed"]
    assert statuses["ok"] == statuses["rewrite_safe: ok"] == found.manifest.rows
    assert broken + statuses["rewrite_plain: ok"] == found.manifest.rows and broken > 0


def test_a_row_fails_where_none_of_its_rewrites_is_usable(config: Path, tmp_path: Path) -> None:
    assert rewrite(["--config", str(config), "judge=null"]) == 0
    made = ShardSet(f"{tmp_path}/set").manifest.passes[-1]
    assert made.failed == 0 and made.asked == ShardSet(f"{tmp_path}/set").manifest.rows
    assert sum(found.count for found in made.failures.values()) > 0


def test_the_templates_of_a_chunk_travel_together(config: Path, server: FaultServer) -> None:
    assert rewrite(["--config", str(config), "judge=null", "engines.main.concurrency=1"]) == 0
    asked = [by_template(call) for call in server.calls if "Document 3" not in call.text]
    assert asked[: len(NAMES) * 3] == [*NAMES] * 3


def test_one_template_with_a_name_makes_the_texts_of_one_without(
    tmp_path: Path, server: FaultServer
) -> None:
    found = []
    for number, templates in enumerate(({}, {"cleanup": None})):
        path = written(tmp_path, server, templates)
        assert rewrite(["--config", str(path), f"output={tmp_path}/{number}"]) == 0
        made = ShardSet(f"{tmp_path}/{number}")
        assert made.manifest.texts == TEXTS
        found.append(list(made.rows(schema(["quality", "safety"]).names[:-1])))
    assert found[0] == found[1]
    assert "best" in made.manifest.columns.names


def test_every_command_over_a_set_shows_each_rewrite(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert rewrite(["--config", str(config)]) == 0
    url = f"{tmp_path}/set"
    capsys.readouterr()
    for command in ("show", "stats", "report"):
        assert shards([command, url]) == 0
    shown = capsys.readouterr().out
    assert "quality, rewrite_plain" in shown and "rewrite_safe_score" in shown
    page, card = ((tmp_path / "set" / name).read_text() for name in (names.REPORT, names.CARD))
    for text in ("rewrite_plain", "rewrite_safe"):
        assert f"{url}: {text}" in page and f"`{text}_quality`" in card
    assert "By plain:" in page and "`rewrite_plain: failed`" in card
    assert shards(["export", url, "--to", f"{tmp_path}/pairs.jsonl", "--each", "pair"]) in (0, 2)


def test_an_export_takes_the_best_of_all_texts(tmp_path: Path) -> None:
    texts = texts_of(["a", "b"])
    scores = [(2.0, 1.0, 3.0), (2.0, 2.0, 1.0), (None, 1.0, 2.0), (1.0, None, None)]
    rows = [
        {text: text for text in texts}
        | {f"{text}_score": score for text, score in zip(texts, some, strict=True)}
        for some in scores
    ]
    url = write_set(tmp_path / "set", [[rows]], rewrites=("a", "b"))
    chunks = [record["candidate"] for record in Export(url, "chunk")]
    assert chunks == ["rewrite_b", "original", "rewrite_b", "original"]
    pairs = [(record["chosen"], record["rejected"]) for record in Export(url, "pair")]
    assert pairs == [("rewrite_b", "rewrite"), ("original", "rewrite_b"), ("rewrite_b", "rewrite")]
    (document,) = Export(url)
    assert document["text"] == "".join(chunks) and document["rewritten"] == 2


def test_what_failed_by_any_template_is_asked_again(
    config: Path, server: FaultServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert rewrite(["--config", str(config)]) == 0
    before = list(ShardSet(f"{tmp_path}/set").rows())
    server.calls.clear()
    server.plan = lambda call: None if by_template(call) == "plain" else told_apart(call)
    assert rewrite(["--config", str(config), "--retry-failed"]) == 0
    assert {by_template(call) for call in server.calls} == {"plain", ""}
    after = list(ShardSet(f"{tmp_path}/set").rows())
    assert verify(f"{tmp_path}/set")["problems"] == []
    for old, new in zip(before, after, strict=True):
        assert new["rewrite_plain_status"] == "ok" and new["rewrite_plain_score"] is not None
        same = [
            "id",
            "original",
            "rewrite",
            "rewrite_safe",
            "rewrite_safety",
            "rewrite_safe_safety",
        ]
        assert [old[name] for name in same] == [new[name] for name in same]


@pytest.mark.parametrize(
    ("templates", "sentence"),
    [
        ("{a: {}, a: {}}", "the key 'a' stands twice"),
        ("{a: , status: }", "found the name 'status'; accepted: names other than best, original"),
        ("{a: , b_status: }", "and without the end _reason, _score, _status"),
        ("{A: }", "rewrite.templates: found the name 'A'; accepted: at most 40 small letters"),
        (
            "{a: {template: safety}, quality: }",
            "found two columns 'rewrite_quality' (the rewritten",
        ),
        ("{a: {template: nowhere}}", "rewrite.templates.a.template: found 'nowhere'; accepted:"),
        ("{nowhere: }", "rewrite.templates.nowhere.template: found 'nowhere'; accepted:"),
        ("{a: {engine: mian}}", "rewrite.templates.a.engine: found 'mian'"),
        ("{a: {length: {min: 9}, template: plain}}", "rewrite.templates.a.length: found"),
        ("{a: {tempalte: plain}}", "unknown key 'tempalte'; did you mean 'template'?"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(
    tmp_path: Path,
    server: FaultServer,
    capsys: pytest.CaptureFixture[str],
    templates: str,
    sentence: str,
) -> None:
    path = written(tmp_path, server, {})
    path.write_text(path.read_text().replace("templates: {}", f"templates: {templates}"))
    assert rewrite(["--config", str(path)]) == 2
    error = capsys.readouterr().err
    assert sentence in error and error.count("\n") == 1
    assert not (tmp_path / "set").exists() and not server.calls


NAME = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)


@given(st.lists(NAME, unique=True, max_size=4), st.lists(NAME, unique=True, max_size=3))
def test_columns_have_distinct_names_or_are_refused(names: list[str], criteria: list[str]) -> None:
    columns = schema(criteria, rewrites=names).names
    twice = len(set(columns)) < len(columns)
    try:
        refuse_hidden("key", criteria, [], names)
    except ConfigError as error:
        assert twice and re.match(r"key: found two columns '\w+' \(", str(error))
    else:
        assert not twice
        assert set(texts_of(names)) <= set(columns)


def test_a_template_has_what_the_section_has_but_for_its_own_keys() -> None:
    section = RewriteConfig.model_validate(
        {
            "engine": "e",
            "sampling": {"seed": 7, "top_p": 0.5},
            "length": {"max": 4},
            "templates": {
                "plain": None,
                "other": {"engine": "f", "template": "x", "sampling": {"seed": 8}},
            },
        }
    )
    first, second = section.by_text().values()
    assert [*section.by_text()] == ["rewrite", "rewrite_other"]
    assert (first.engine, first.template, first.sampling.seed) == ("e", "plain", 7)
    assert (second.engine, second.template, second.sampling.seed) == ("f", "x", 8)
    assert first.sampling.top_p == second.sampling.top_p == 0.5
    assert first.length == second.length == section.length


SCORES = st.lists(st.none() | st.integers(0, 3), min_size=2, max_size=5)


@given(SCORES)
def test_the_best_has_the_highest_score_and_of_equal_ones_stands_first(
    scores: list[int | None],
) -> None:
    texts = texts_of([f"t{number}" for number in range(len(scores) - 1)])
    row: dict[str, Any] = dict.fromkeys(texts, "text")
    row |= {f"{text}_score": score for text, score in zip(texts, scores, strict=True)}
    known = [score for score in scores if score is not None]
    expected = texts[scores.index(max(known))] if len(known) > 1 else None
    assert best_of(row, texts) == expected


def test_a_criterion_that_would_hide_a_rewrite_is_refused(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also by `prewrite judge`, whose recipe does not name the templates."""
    assert rewrite(["--config", str(config), "judge=null"]) == 0
    (tmp_path / "plain.yaml").write_text("base: safety\nname: plain\n")
    capsys.readouterr()
    words = ["--config", str(config), f"judge.input={tmp_path}/set", f"output={tmp_path}/scored"]
    assert judge([*words, f"judge.criteria=[{tmp_path}/plain.yaml]"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(
        "error: judge.criteria: found two columns 'rewrite_plain' (the rewritten"
    )
    assert error.count("\n") == 1 and not (tmp_path / "scored").exists()


def test_templates_on_engines_of_their_own(
    config: Path, server: FaultServer, tmp_path: Path
) -> None:
    """Each engine gets the requests of its templates, with the system message of one."""
    (tmp_path / "mine.jinja").write_text(
        "---\nsystem: You are brief.\n---\n"
        "<passage{{ fence }}>{{ text }}</passage{{ fence }}>\nAgain."
    )
    with FaultServer(told_apart) as other:
        engine = f"{{kind: endpoint, urls: ['{other.url}'], model: other}}"
        entry = f"{{engine: other, template: {tmp_path}/mine.jinja, length: {{max: 9}}}}"
        words = [f"engines.other={engine}", f"rewrite.templates.plain={entry}", "judge=null"]
        assert rewrite(["--config", str(config), *words]) == 0
        systems = [call.body["messages"][0] for call in other.calls]
        assert {by_template(call) for call in server.calls} == {"main", "safe"}
    rows = list(ShardSet(f"{tmp_path}/set").rows())
    assert len(systems) == len(rows)
    assert all(turn == {"role": "system", "content": "You are brief."} for turn in systems)
    assert all(row["rewrite_plain_reason"] == "copied" or row["rewrite_plain"] for row in rows)

"""One more template over a finished set: only what is new is asked, and the set is the same."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from prewrite.shards.reader import ShardSet
from prewrite.shards.verify import verify
from tests.commands import judge, rewrite
from tests.engine.fault_server import Call, Fault, FaultServer
from tests.rewrite.flaky import uneven
from tests.rewrite.test_templates import by_template, told_apart, written

TWO: dict[str, Any] = {"main": {"template": "cleanup"}, "plain": None}
THREE = TWO | {"safe": {"template": "safety"}}


def answers(call: Call) -> Fault | None:
    """Rewrites that tell their template, verdicts that depend on what is asked."""
    return told_apart(call) if call.body["max_tokens"] > 1 else uneven(call)


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer(answers) as running:
        yield running


def run(
    folder: Path, server: FaultServer, templates: dict[str, Any], output: str, *more: str
) -> int:
    path = written(folder, server, templates)
    return rewrite(["--config", str(path), f"output={folder}/{output}", *more])


def asked(server: FaultServer) -> Counter[str]:
    """Rewrites by template and verdicts by criterion, since the last look."""
    found = Counter(
        by_template(call) or ("safety" if "safe to learn from" in call.text else "quality")
        for call in server.calls
    )
    server.calls.clear()
    return found


def rows(url: str) -> list[dict[str, Any]]:
    return list(ShardSet(url).rows())


def test_one_more_template_costs_what_is_new_and_makes_the_same_set(
    tmp_path: Path, server: FaultServer
) -> None:
    assert run(tmp_path, server, TWO, "two") == 0
    assert run(tmp_path, server, THREE, "whole") == 0
    count = ShardSet(f"{tmp_path}/two").manifest.rows
    asked(server)
    assert run(tmp_path, server, THREE, "more", f"rewrite.input={tmp_path}/two") == 0
    found = asked(server)
    assert found["safe"] == count and not found["main"] and not found["plain"]
    assert found["safety"] == count  # one verdict a new text; those that stay are kept
    assert found["quality"] > count  # a win rate depends on who else plays
    for name in ("more", "more/_rewrites"):
        assert verify(f"{tmp_path}/{name}")["problems"] == []
    assert rows(f"{tmp_path}/more") == rows(f"{tmp_path}/whole")
    manifest = ShardSet(f"{tmp_path}/more").manifest
    assert [made.name for made in manifest.passes] == ["rewrite", "judge", "rewrite", "judge"]
    assert manifest.statuses == ShardSet(f"{tmp_path}/whole").manifest.statuses
    verdicts = {name: _verdicts(f"{tmp_path}/{name}") for name in ("more", "whole")}
    assert verdicts["more"] == verdicts["whole"]


def _verdicts(url: str) -> list[tuple[Any, ...]]:
    shards = ShardSet(url)
    found = [
        tuple(row.values())
        for file in shards.verdicts
        for batch in shards.batches(file)
        for row in batch.to_pylist()
    ]
    return sorted(found, key=str)


def test_rewrites_without_scores_are_judged_anew(tmp_path: Path, server: FaultServer) -> None:
    assert run(tmp_path, server, TWO, "two") == 0
    assert run(tmp_path, server, THREE, "whole") == 0
    asked(server)
    assert run(tmp_path, server, THREE, "more", f"rewrite.input={tmp_path}/two/_rewrites") == 0
    assert asked(server)["safety"] > 2 * ShardSet(f"{tmp_path}/two").manifest.rows
    assert rows(f"{tmp_path}/more") == rows(f"{tmp_path}/whole")


def test_a_set_with_one_rewrite_without_a_name_is_taken_over_as_the_first(
    tmp_path: Path, server: FaultServer
) -> None:
    assert run(tmp_path, server, {}, "one") == 0
    assert run(tmp_path, server, {"cleanup": None, "plain": None}, "whole") == 0
    asked(server)
    source = f"rewrite.input={tmp_path}/one"
    assert run(tmp_path, server, {"cleanup": None, "plain": None}, "more", source) == 0
    found = asked(server)
    assert set(found) == {"plain", "quality", "safety"}
    assert rows(f"{tmp_path}/more") == rows(f"{tmp_path}/whole")


def test_another_sampling_or_order_is_another_rewrite(tmp_path: Path, server: FaultServer) -> None:
    assert run(tmp_path, server, TWO, "two") == 0
    asked(server)
    other = {"main": {"template": "cleanup"}, "plain": {"sampling": {"seed": 1}}}
    assert run(tmp_path, server, other, "other", f"rewrite.input={tmp_path}/two") == 0
    found = asked(server)
    assert found["plain"] and not found["main"]
    assert verify(f"{tmp_path}/other")["problems"] == []
    turned = dict(reversed(TWO.items()))
    assert run(tmp_path, server, turned, "turned", f"rewrite.input={tmp_path}/two") == 0
    found = asked(server)
    assert found["plain"] and found["main"]
    assert rows(f"{tmp_path}/turned")[0]["rewrite"].startswith("By plain:")


def test_what_failed_in_such_a_set_is_asked_again(tmp_path: Path, server: FaultServer) -> None:
    assert run(tmp_path, server, TWO, "two") == 0
    source = f"rewrite.input={tmp_path}/two"
    assert run(tmp_path, server, THREE, "more", source) == 0
    kept = [row["rewrite_safe_safety"] for row in rows(f"{tmp_path}/more")]
    asked(server)
    server.plan = lambda call: None if by_template(call) == "plain" else answers(call)
    assert run(tmp_path, server, THREE, "more", source, "--retry-failed") == 0
    found = asked(server)
    assert found["plain"] > 0 and not found["main"] and not found["safe"]
    for name in ("more", "more/_rewrites"):
        assert verify(f"{tmp_path}/{name}")["problems"] == []
    after = rows(f"{tmp_path}/more")
    assert all(row["rewrite_plain_score"] is not None for row in after)
    assert [row["rewrite_safe_safety"] for row in after] == kept


def test_a_template_that_is_dropped_plays_no_more(tmp_path: Path, server: FaultServer) -> None:
    """Also where the one in its place failed: the pool is another, so its win rates are."""
    start = {"main": {"template": "cleanup"}, "safe": {"template": "safety"}}
    assert run(tmp_path, server, start, "start") == 0
    assert run(tmp_path, server, TWO, "whole") == 0
    assert run(tmp_path, server, TWO, "more", f"rewrite.input={tmp_path}/start") == 0
    assert rows(f"{tmp_path}/more") == rows(f"{tmp_path}/whole")
    assert _verdicts(f"{tmp_path}/more") == _verdicts(f"{tmp_path}/whole")


def test_a_rewrite_that_was_mended_before_the_judge_came_is_judged(
    tmp_path: Path, server: FaultServer
) -> None:
    assert run(tmp_path, server, TWO, "two") == 0
    source, unjudged = f"rewrite.input={tmp_path}/two", "judge=null"
    assert run(tmp_path, server, THREE, "more", source, unjudged) == 0
    server.plan = lambda call: None if by_template(call) == "plain" else answers(call)
    assert run(tmp_path, server, THREE, "more", source, unjudged, "--retry-failed") == 0
    path = written(tmp_path, server, THREE)
    words = ["--config", str(path), f"judge.input={tmp_path}/more", f"output={tmp_path}/judged"]
    assert judge(words) == 0
    for row in rows(f"{tmp_path}/judged"):
        assert row["rewrite_plain_safety"] is not None and row["rewrite_plain_score"] is not None


@pytest.mark.parametrize(
    ("more", "templates", "sentence"),
    [
        (
            ["chunking.tokens=32"],
            THREE,
            "a set with other texts (chunking.tokens: 48 → 32); accepted",
        ),
        (["input.limit=2"], THREE, "a set with other texts (input."),
        ([], TWO, "which has all rewrites of this recipe; accepted: a set that lacks one"),
        (["output=SET"], THREE, "was made under another configuration"),
        (["rewrite.input=nowhere"], THREE, "no shard set here"),
    ],
)
def test_a_set_that_cannot_be_taken_over_is_one_sentence(
    tmp_path: Path,
    server: FaultServer,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
    templates: dict[str, Any],
    sentence: str,
) -> None:
    assert run(tmp_path, server, TWO, "two") == 0
    asked(server)
    capsys.readouterr()
    more = [word.replace("SET", f"{tmp_path}/two") for word in more]
    assert run(tmp_path, server, templates, "more", f"rewrite.input={tmp_path}/two", *more) > 0
    error = capsys.readouterr().err
    assert sentence in error and "Traceback" not in error and not asked(server)


def test_the_dry_run_says_what_is_taken_over(
    tmp_path: Path, server: FaultServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, server, TWO, "two") == 0
    capsys.readouterr()
    assert run(tmp_path, server, THREE, "more", f"rewrite.input={tmp_path}/two", "--dry-run") == 0
    told = capsys.readouterr().out
    assert f"taken over from {tmp_path}/two: rewrite, rewrite_plain\n" in told
    assert "asked for: rewrite_safe\n" in told

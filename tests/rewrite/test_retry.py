"""`--retry-failed` of the real commands against a real server: what is asked, kept and refused."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from prewrite.base.errors import ConfigError
from prewrite.shards import names
from prewrite.shards.manifest import Manifest
from prewrite.shards.reader import ShardSet
from prewrite.shards.verify import verify
from tests.commands import judge, rewrite
from tests.engine.fault_server import Call, Fault, FaultServer
from tests.faults.runs import wait_for
from tests.pipeline.runs import assert_whole, corpus_lines, ended, recipe, start
from tests.rewrite.flaky import (
    asked,
    flaky,
    holes,
    is_safety,
    passage,
    rewrites,
    rows,
    uneven,
    verdicts,
)
from tests.shards.edits import replaced

FILES, DOCUMENTS = 2, 8


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus, a set in which little failed, and one in which nothing did."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "in").mkdir()
    for number in range(FILES):
        (folder / f"in/{number}.jsonl").write_bytes(corpus_lines(number, DOCUMENTS))
    with FaultServer(flaky) as server:
        for name, plan in (("set", flaky), ("whole", uneven)):
            server.plan = plan
            assert rewrite(["--config", str(recipe_of(folder, folder, server, name))]) == 0
    return folder


def recipe_of(folder: Path, corpus: Path, server: FaultServer, name: str = "set") -> Path:
    path = folder / f"{name}.yaml"
    text = recipe(
        f"{corpus}/in/*.jsonl", f"{folder}/{name}", server.url, judge=True, rows_per_part=8
    )
    path.write_text(text)
    return path


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer(uneven) as running:
        yield running


@pytest.fixture
def config(made: Path, tmp_path: Path, server: FaultServer) -> Path:
    """The recipe of a copy of the set in which little failed."""
    shutil.copytree(made / "set", tmp_path / "set")
    return recipe_of(tmp_path, made, server)


def again(config: Path, *overrides: str) -> int:
    return rewrite(["--config", str(config), "--retry-failed", *overrides])


def manifests(url: object) -> list[Manifest]:
    return [ShardSet(f"{url}{name}").manifest for name in ("/_rewrites", "")]


def parts_of(url: object) -> list[set[tuple[str, str]]]:
    """The names and digests of all parts, with rows and with verdicts, of both sets."""
    sets = (ShardSet(f"{url}{name}") for name in ("/_rewrites", ""))
    return [{(part.name, part.sha256) for part in (*s.parts, *s.verdicts)} for s in sets]


def test_what_failed_is_asked_and_nothing_else(
    config: Path, made: Path, server: FaultServer, capsys: pytest.CaptureFixture[str]
) -> None:
    out = config.parent / "set"
    before, said = rows(out), verdicts(out)
    old, parts = manifests(out), parts_of(out)
    assert again(config, "--dry-run") == 0
    told = capsys.readouterr().out
    assert (
        f"{out}/_rewrites: ask again: 2 failed rows\n{out}: ask again: 2 failed verdicts;" in told
    )
    assert again(config) == 0
    # Of each changed rewrite two orders of its pair, and whether it is safe.
    assert asked(server) == {"rewrite": 2, "quality": 1 + 4, "safety": 1 + 2}
    told = capsys.readouterr().out
    assert f"{out}/_rewrites: generation 2; failed: 2 before, 0 now" in told
    assert f"{out}: generation 2; failed: 2 before, 0 now" in told
    assert_whole(f"{out}/_rewrites")
    assert_whole(str(out))

    now, whole = rows(out), rows(made / "whole")
    changed = {name for name in now if now[name] != before[name]}
    touched = {name for name, row in before.items() if holes(row)}
    assert changed == touched and len(changed) == 4
    for name in now:
        assert now[name] == pytest.approx(whole[name], abs=1e-6)
    for name in changed:
        kept = {key for key, value in before[name].items() if value is not None}
        kept -= {"rewrite_status", "rewrite_reason"}
        assert {key: now[name][key] for key in kept} == {key: before[name][key] for key in kept}
    good = {key: row for key, row in said.items() if row["status"] == "ok"}
    found = verdicts(out)
    assert {key: found[key] for key in good} == good
    assert len(found) == len(verdicts(made / "whole"))

    for later, full in zip(manifests(out), manifests(made / "whole"), strict=True):
        assert later.statuses == full.statuses
        assert later.passes[-1].counts == full.passes[-1].counts
    stay = [one & other for one, other in zip(parts, parts_of(out), strict=True)]
    assert [len(some) for some in stay] == [2, 2]
    extra = [later.passes[-1].usage.requests - earlier.passes[-1].usage.requests
             for earlier, later in zip(old, manifests(out), strict=True)]  # fmt: skip
    assert extra == [2, 8]

    for arguments in ([], ["--retry-failed"]):
        assert rewrite(["--config", str(config), *arguments]) == 0
        assert "nothing to do" in capsys.readouterr().out
    assert not asked(server)


def test_seeds_are_those_of_the_round(
    config: Path, server: FaultServer, capsys: pytest.CaptureFixture[str]
) -> None:
    def seeds() -> set[int]:
        found = {call.body["seed"] for call in server.calls if rewrites(call)}
        server.calls.clear()
        return found

    def half(call: Call) -> Fault | None:
        if not rewrites(call):
            return Fault(401)
        return flaky(call) if "Document 3" in passage(call) else uneven(call)

    out = config.parent / "set"
    server.plan = lambda call: Fault(401)
    assert again(config) == 1
    first = seeds()
    server.plan, before = flaky, rows(out)
    assert again(config) == 1
    assert f"{out}/_rewrites: all 2 that had failed did so again; it" in capsys.readouterr().err
    assert first <= seeds(), "the same round has other seeds"
    assert again(config) == 1
    assert not first & seeds()
    assert rows(out) == before
    assert [one.generation for one in manifests(out)] == [1, 1]
    assert_whole(f"{out}/_rewrites")
    assert_whole(str(out))
    server.plan = half
    assert again(config) == 1, "the judge refuses"
    seeds()
    server.plan = flaky
    assert again(config) == 0
    assert not seeds(), "a round of rewrites is judged before the next one begins"
    assert [one.generation for one in manifests(out)] == [2, 2]
    server.plan = uneven
    assert again(config) == 0
    later = seeds()
    assert len(later) == 1 and not later & first
    assert [one.generation for one in manifests(out)] == [3, 3]
    assert manifests(out)[1].passes[-1].counts["verdict:ok"] == 4 * 32


def test_a_set_that_was_judged_before_says_what_to_do(
    config: Path, server: FaultServer, capsys: pytest.CaptureFixture[str]
) -> None:
    out = config.parent / "set"
    server.plan = lambda call: None if rewrites(call) else Fault(401)
    assert again(config) == 1
    old = rows(out)
    assert [one.generation for one in manifests(out)] == [2, 1]
    capsys.readouterr()
    judged = ["--config", str(config), f"judge.input={out}/_rewrites"]
    for command in (rewrite, judge):
        assert command(judged) == 1
        assert (
            f"error: {out}: it was judged before the rows of {out}/_rewrites became others; "
            "run this command with --retry-failed"
        ) in capsys.readouterr().err
    assert rows(out) == old and verify(str(out))["problems"] == []
    with FaultServer(uneven) as works:  # no request that was cancelled can reach it
        assert judge([*judged, "--retry-failed", f"engines.main.urls=[{works.url}]"]) == 0
        assert asked(works) == {"quality": 5, "safety": 3}
    assert rewrite(judged) == 0
    assert_whole(str(out))


def test_a_scored_set_that_is_judged_again_keeps_holes_until_they_are_asked(
    config: Path, server: FaultServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """Verdicts of a criterion that was kept, too; what its input has learnt meanwhile is taken."""
    out, more = config.parent / "set", config.parent / "more"
    command = ["--config", str(config), f"judge.input={out}", f"output={more}"]
    for name in ("more", "other"):
        assert judge([*command, f"output={config.parent}/{name}"]) == 0
    assert not asked(server)
    assert {row["status"] for row in verdicts(more).values()} == {"ok", "failed"}
    assert judge([*command, "--retry-failed", "--dry-run"]) == 0
    assert f"{more}: ask again: 2 failed verdicts\n" in capsys.readouterr().out
    assert judge([*command, "--retry-failed"]) == 0
    assert asked(server) == {"quality": 1, "safety": 1}
    assert {row["status"] for row in verdicts(more).values()} == {"ok"}
    assert_whole(str(more))

    assert again(config) == 0
    asked(server)
    other = [*command, f"output={config.parent}/other"]
    assert judge(other) == 1
    assert judge([*other, "--retry-failed"]) == 0
    assert not asked(server), "all of it is known"
    assert verdicts(config.parent / "other") == verdicts(out)
    for name, row in rows(config.parent / "other").items():
        assert row == pytest.approx(rows(out)[name], abs=1e-6)


def test_a_judge_that_refused_every_verdict_is_asked_again(
    tmp_path: Path, made: Path, server: FaultServer
) -> None:
    """Case corpus/21: a server refuses a parameter; later the same model answers elsewhere."""
    server.plan = lambda call: Fault(400) if is_safety(call) else uneven(call)
    config = recipe_of(tmp_path, made, server)
    assert rewrite(["--config", str(config)]) == 1
    assert rewrite(["--config", str(config), "run.max_failed=1"]) == 0
    asked(server)
    with FaultServer(uneven) as works:
        assert again(config, f"engines.main.urls=[{works.url}]") == 0
        assert asked(works) == {"safety": 64}
    assert not asked(server)
    assert {row["status"] for row in verdicts(tmp_path / "set").values()} == {"ok"}
    for name, row in rows(tmp_path / "set").items():
        assert row == pytest.approx(rows(made / "whole")[name], abs=1e-6)


def test_what_is_refused(
    config: Path, server: FaultServer, capsys: pytest.CaptureFixture[str]
) -> None:
    out = config.parent / "set"
    for change, sentence in (
        (
            "judge.weights.safety=2",
            f"{out} was made under another configuration; its rew",
        ),
        ("rewrite.length.max=4", f"{out}/_rewrites was made under another configuration"),
        (
            f"output={out}x",
            f"{out}x/_rewrites: found no set; accepted with --retry-failed: a",
        ),
        ("run.executor=slurm", "run.executor: found 'slurm'; accepted with --retry-failed: local"),
    ):
        assert again(config, change) == (1 if "found no set" in sentence else ConfigError.exit_code)
        err = capsys.readouterr().err
        assert sentence in err and "no file" not in err
    replaced(out, '"complete"', '"interrupted"')
    assert again(config) == 1
    assert f"{out}: found a set that is interrupted; accepted" in capsys.readouterr().err
    assert not asked(server)


@pytest.mark.slow
def test_killed_and_continued_by_two_workers(config: Path, server: FaultServer) -> None:
    """By a real SIGKILL, in the second pass."""
    out = config.parent / "set"
    old = rows(out)

    def slow(call: Call) -> Fault:
        judged = [one for one in server.calls if not rewrites(one)]
        return Fault(seconds=60) if len(judged) > 4 else uneven(call)

    server.plan = slow
    process = start(config, "--retry-failed", scratch=config.parent / "tmp")
    assert wait_for(lambda: list(out.glob(f"{names.NEXT}/{names.RECORDS}/*.json")), process)
    process.kill()
    ended(process)
    assert rows(out) == old and verify(str(out))["problems"] == []
    assert manifests(out)[0].generation == 2
    with FaultServer(uneven) as works:
        urls = f"engines.main.urls=[{works.url}]"
        assert again(config, urls, "run.workers=2", "run.tasks=2") == 0
        assert asked(works) == {"quality": 3, "safety": 2}, "the first block was committed"
    assert not any(map(holes, rows(out).values()))
    assert_whole(str(out))

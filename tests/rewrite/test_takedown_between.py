"""A document is taken out of a set while another set is being made of it, or is repaired later."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from prewrite.shards.reader import ShardSet
from prewrite.shards.takedown import remove
from prewrite.shards.verify import verify
from tests.commands import judge, rewrite, shards
from tests.engine.fault_server import Call, Fault, FaultServer
from tests.rewrite.flaky import flaky, uneven
from tests.rewrite.test_templates import written

SMALL = ["run.rows_per_part=2", "engines.main.concurrency=1", "engines.main.retries=0"]


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer(uneven) as running:
        yield running


@pytest.fixture
def made(tmp_path: Path, server: FaultServer) -> list[str]:
    """A set of five documents in one part; the arguments that made it."""
    config = str(written(tmp_path, server, {}))
    words = ["--config", config, "judge=null", f"output={tmp_path}/in"]
    assert rewrite(words) == 0
    return words


def judged(tmp_path: Path) -> list[str]:
    """Arguments of a judge pass that makes several parts of the one."""
    config = str(tmp_path / "recipe.yaml")
    return ["--config", config, f"judge.input={tmp_path}/in", f"output={tmp_path}/out", *SMALL]


def documents(url: Path) -> list[int]:
    """The numbers of the documents, each once; the set is whole."""
    assert verify(str(url))["problems"] == []
    rows = [*ShardSet(url).rows()]
    assert len({row["id"] for row in rows}) == len(rows)
    return [int(row["doc_id"].rpartition("/")[2]) for row in rows if row["chunk"] == 0]


def damage(url: Path, part: int) -> None:
    place = ShardSet(url).parts[part]
    data = bytearray((url / place.file).read_bytes())
    data[place.start + place.bytes // 2] ^= 255
    (url / place.file).write_bytes(data)


def refused_after(calls: int) -> Callable[[Call], Fault | None]:
    def plan(call: Call) -> Fault | None:
        return Fault(401) if call.number > calls else uneven(call)

    return plan


def test_a_judge_pass_goes_on_with_the_other_documents(
    tmp_path: Path, server: FaultServer, made: list[str]
) -> None:
    server.plan = refused_after(len(server.calls) + 8)
    assert judge(judged(tmp_path)) == 1
    remove(f"{tmp_path}/in", ["in.jsonl/0", "in.jsonl/3"])
    server.plan = uneven
    assert judge(judged(tmp_path)) == 0
    assert documents(tmp_path / "in") == [1, 2, 4]
    assert documents(tmp_path / "out") == [0, 1, 2, 4]  # 0 had been read before
    manifest = ShardSet(tmp_path / "out").manifest
    assert [(one.doc_id, one.rows) for one in manifest.removed] == [("in.jsonl/3", 0)]
    assert manifest.left_out == {"removed": 1}


def test_one_more_template_goes_on_with_the_other_documents(
    tmp_path: Path, server: FaultServer
) -> None:
    one = str(written(tmp_path, server, {"cleanup": None}))
    assert rewrite(["--config", one, "judge=null", f"output={tmp_path}/in"]) == 0
    two = str(written(tmp_path, server, {"cleanup": None, "plain": None}))
    words = ["--config", two, "judge=null", f"rewrite.input={tmp_path}/in", *SMALL]
    words.append(f"output={tmp_path}/out")
    server.plan = refused_after(len(server.calls) + 5)
    assert rewrite(words) == 1
    remove(f"{tmp_path}/in", ["in.jsonl/0"])
    server.plan = uneven
    assert rewrite(words) == 0
    assert documents(tmp_path / "out")[-4:] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("inner", "outer", "left"),
    [
        ([0], [0], [1, 2, 3, 4]),
        ([2], [0], [1, 3, 4]),
        ([1], [], [0, 2, 3, 4]),
        ([], [1], [0, 2, 3, 4]),
    ],
)
def test_a_repair_after_it_brings_the_same_documents(
    tmp_path: Path, made: list[str], inner: list[int], outer: list[int], left: list[int]
) -> None:
    """What the input has lost meanwhile cannot be made again; it is counted."""
    assert judge(judged(tmp_path)) == 0
    for name, numbers in (("in", inner), ("out", outer)):
        if numbers:
            remove(f"{tmp_path}/{name}", [f"in.jsonl/{number}" for number in numbers])
    before = {row["id"]: row for row in ShardSet(tmp_path / "out").rows()}
    for part in range(len(ShardSet(tmp_path / "out").parts)):
        damage(tmp_path / "out", part)
    assert shards(["verify", f"{tmp_path}/out", "--repair"]) == 0
    assert judge(judged(tmp_path)) == 0
    assert documents(tmp_path / "out") == left
    assert all(before[row["id"]] == row for row in ShardSet(tmp_path / "out").rows())
    removed = ShardSet(tmp_path / "out").manifest.removed
    assert sum(one.documents for one in removed) == 5 - len(left)


def test_a_part_that_is_all_taken_out_keeps_its_place(tmp_path: Path, made: list[str]) -> None:
    """The set that was made of it keeps what it has, also when another part is mended."""
    assert judge(judged(tmp_path)) == 0
    remove(f"{tmp_path}/in", [f"in.jsonl/{number}" for number in range(5)])
    damage(tmp_path / "out", 1)
    assert shards(["verify", f"{tmp_path}/out", "--repair"]) == 0
    assert judge(judged(tmp_path)) == 0
    assert documents(tmp_path / "out") == [0, 2, 3, 4]


def test_what_failed_is_asked_again_in_both(tmp_path: Path, server: FaultServer) -> None:
    server.plan = flaky
    words = ["--config", str(written(tmp_path, server, {}))]
    words += ["judge=null", f"output={tmp_path}/in"]
    assert rewrite(words) == 0 and judge(judged(tmp_path)) == 0
    remove(f"{tmp_path}/in", ["in.jsonl/0"])
    remove(f"{tmp_path}/out", ["in.jsonl/1"])
    server.plan = uneven
    assert rewrite([*words, "--retry-failed"]) == 0
    assert judge([*judged(tmp_path), "--retry-failed"]) == 0
    assert documents(tmp_path / "in") == [1, 2, 3, 4]
    assert documents(tmp_path / "out") == [0, 2, 3, 4]
    manifest = ShardSet(tmp_path / "out").manifest
    assert [one.doc_id for one in manifest.removed] == ["in.jsonl/1"]
    assert manifest.left_out == {"removed": 1}
    assert all(row["rewrite_score"] is not None for row in ShardSet(tmp_path / "out").rows())

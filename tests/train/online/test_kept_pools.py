"""Pools that are kept: what comes back is what was learnt from, and no text breaks what is read."""

import re
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prewrite.base.errors import ShardError
from prewrite.base.files import Folder
from prewrite.train.online.kept_pools import (
    KeptPool,
    check,
    each,
    keep_until,
    kept,
    load,
    pools_of,
    readable,
    write,
)
from tests.train.online.pools import any_pools, group, prompt, rollout

HOSTILE = [
    "```\n# not a heading\n```",
    "````text\n```\n~~~",
    "</pre><script>alert(1)</script>",
    "\x1b[31mred\x1b[0m\r```\r\n",
    "line\u2028line\x85\x0c",
    "\u202eesrever",
    "`" * 9,
    "",
]


@given(pools=any_pools(), step=st.integers(0, 10**6))
def test_what_is_kept_comes_back(
    tmp_path_factory: pytest.TempPathFactory, pools: Any, step: int
) -> None:
    folder = str(tmp_path_factory.mktemp("pools"))
    write(folder, step, 0, pools[::2])
    write(folder, step, 1, pools[1::2])
    assert load(folder) == {(one.sample, one.id): one for _, one in pools}
    found = {pool.group.key: pool for _, pool in each(folder, check(folder))}
    assert found == {one.key: KeptPool.of(prompt, one) for prompt, one in pools}
    assert len(list(Path(folder).iterdir())) == 3 + 3 * (len(pools) > 1)


@given(every=st.integers(1, 9), samples=st.integers(0, 50))
def test_one_pool_in_n(every: int, samples: int) -> None:
    chosen = [sample for sample in range(samples) if kept(sample, every)]
    assert chosen == list(range(0, samples, every))
    assert not any(kept(sample, 0) for sample in range(samples))


def test_nothing_kept_is_no_file(tmp_path: Path) -> None:
    write(str(tmp_path / "pools"), 1, 0, [])
    assert not (tmp_path / "pools").exists()


def test_a_link_out_of_the_pools_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "pools"
    write(str(folder), 1, 0, [(prompt(), group())])
    file = next(folder.glob("*.parquet"))
    file.rename(tmp_path / file.name)
    file.symlink_to(tmp_path / file.name)
    with pytest.raises(ShardError, match="found a link to .*, out of the folder"):
        load(str(folder))


def test_later_steps_are_taken_back(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    for step in (1, 2, 30):
        write(str(tmp_path), step, 0, [(prompt(step), group("a", sample=step))])
    keep_until(str(tmp_path), 2)
    assert sorted(sample for sample, _ in load(str(tmp_path))) == [1, 2]
    assert (tmp_path / "notes.txt").exists() and len(list(tmp_path.iterdir())) == 6
    keep_until(str(tmp_path / "none"), 2)
    step_of(tmp_path, 3)
    assert sorted(sample for sample, _ in load(str(tmp_path))) == [1, 2, 30]


def step_of(folder: Path, step: int, rank: int = 0, text: str = "a") -> Path:
    """Keep a pool of this step; its file."""
    write(str(folder), step, rank, [(prompt(step), group(text, sample=10 * step + rank))])
    return folder / f"step-{step:08}-rank-{rank:05}.parquet"


def refused(folder: Path, name: str, reason: str) -> None:
    """Before a run's first step, and when it reads the pools."""
    for read in (check, load):
        with pytest.raises(ShardError, match=rf"^{folder}/{name}: {reason}.*; accepted: all files"):
            read(str(folder))


MISSING, UNKNOWN = "found a file that does not follow", "not there, damaged, or of a file"


@pytest.mark.parametrize(
    ("gone", "name", "reason"),
    [
        ("step-00000001-rank-00000.parquet", "step-00000002-rank-00000.parquet", MISSING),
        ("step-00000002-rank-00000.parquet", "step-00000003-rank-00000.parquet", MISSING),
        ("step-00000003-rank-00000.parquet", "rank-00000.json", UNKNOWN),
        ("step-00000003-rank-00001.parquet", "rank-00001.json", UNKNOWN),
        ("rank-00000.json", "rank-00000.json", UNKNOWN),
        ("rank-00001.json", "rank-00001.json", UNKNOWN),
    ],
)
@pytest.mark.parametrize("later", [False, True])
def test_a_file_that_is_missing_is_noticed(
    tmp_path: Path, gone: str, name: str, reason: str, later: bool
) -> None:
    """Also when the run went on without it."""
    for step, rank in ((1, 0), (2, 0), (3, 0), (3, 1)):
        step_of(tmp_path, step, rank)
    if later:
        step_of(tmp_path, 5)
    (tmp_path / gone).unlink()
    if later:
        keep_until(str(tmp_path), 3)
    if later and gone == "rank-00000.json":
        load(str(tmp_path))  # the file that was taken back has said what comes before it
    else:
        refused(tmp_path, name, reason)


@pytest.mark.parametrize("at", [1, 2, 3])
@pytest.mark.parametrize("step", [None, 2])
def test_a_file_of_another_run_is_noticed(tmp_path: Path, at: int, step: int | None) -> None:
    """That of the same step, and that of another step of this run under its name."""
    mine, other = tmp_path / "mine", tmp_path / "other"
    for number in (1, 2, 3):
        step_of(mine, number)
        step_of(other, number, text="b")
    name = f"step-{at:08}-rank-00000.parquet"
    source = other / name if step is None else mine / f"step-{step:08}-rank-00000.parquet"
    if source == mine / name:
        (mine / "rank-00000.json").write_bytes((other / "rank-00000.json").read_bytes())
    (mine / name).write_bytes(source.read_bytes())
    with pytest.raises(ShardError, match=f"^{mine}/.*(does not follow|others than|of another run)"):
        load(str(mine))


def test_files_that_a_kill_has_left_are_read(tmp_path: Path) -> None:
    """Of a step that was not finished, and where taking back did not come to its end."""
    step_of(tmp_path, 1)
    before = (tmp_path / "rank-00000.json").read_bytes()
    step_of(tmp_path, 2)
    (tmp_path / "rank-00000.json").write_bytes(before)
    assert len(load(str(tmp_path))) == 2
    keep_until(str(tmp_path), 1)
    step_of(tmp_path, 2)
    assert len(load(str(tmp_path))) == 2


def test_taking_back_what_is_damaged(tmp_path: Path) -> None:
    """A run goes on; what it then keeps is not replayed, for nothing is known of what lay there."""
    step_of(tmp_path, 1)
    step_of(tmp_path, 2).write_bytes(b"damaged")
    keep_until(str(tmp_path), 1)
    step_of(tmp_path, 2)
    refused(tmp_path, "step-00000002-rank-00000.parquet", MISSING)


def test_the_table_opens_elsewhere(tmp_path: Path) -> None:
    """Prefix and texts stand beside the scores."""
    found = group("a", rollout("b", 3), scores={"original": 0.25, "rollout-1": 0.75}, version=7)
    write(str(tmp_path), 8, 0, [(prompt(), found)])
    query = (
        "select prefix, original, stored['original'], rollouts[2].text, len(rollouts[2].tokens), "
        f"scores['rollout-1'], version from '{tmp_path}/*.parquet'"
    )
    original = "The original text."
    expected = ("What stands before.", original, original, "b", 3, 0.75, 7)
    assert duckdb.execute(query).fetchall() == [expected]


def test_a_page_to_read(tmp_path: Path) -> None:
    values = {"variety": {"rollout-1": 0.75, "original": 0.25}}
    scores = {"original": 0.25, "rollout-1": 0.75}
    counts = {"verdict:ok": 2, "verdict:failed": 1}
    found = group("worse", "better", scores=scores, values=values, counts=counts, sample=6)
    write(str(tmp_path), 12, 3, [(prompt(6), found)])
    text = (tmp_path / "step-00000012-rank-00003.md").read_text()
    headings = re.findall(r"^#+ .*$", text, re.MULTILINE)
    assert headings == [
        "# Pools of step 12",
        "## Sample 6",
        "### Prefix",
        "### rollout-1",
        "### original",
        "### rollout-0",
    ]
    for line in ("row row", "verdict:failed 1", "score 0.7500", "variety 0.7500", "no score"):
        assert f"\n{line}\n" in text
    assert "\nWhat stands before.\n" in text and "\nbetter\n" in text


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_breaks_the_page(text: str) -> None:
    pools = [(prompt(original=text, id=text, context=(text,)), group(text, id=text))]
    page = readable(1, pools)
    assert outside_fences(page) == outside_fences(readable(1, [(prompt(), group("tame"))]))
    assert all(c.isprintable() or c in "\n\t\N{REPLACEMENT CHARACTER}" for c in page)


@given(any_pools())
def test_whatever_stands_in_pools_stays_in_its_fences(pools: Any) -> None:
    lines = outside_fences(readable(1, pools))
    assert all(re.fullmatch(r"#{1,3} [A-Za-z0-9 -]+|", line) for line in lines)
    assert sum(line.startswith("## ") for line in lines) == len(pools)


def outside_fences(page: str) -> list[str]:
    """The lines that Markdown would read, by CommonMark's rule for fences."""
    found, fence = [], ""
    for line in re.split(r"\r\n|\n|\r", page):
        ticks = re.match(r" {0,3}(`{3,})", line)
        if not fence and ticks:
            fence = ticks[1]
        elif fence and re.fullmatch(rf" {{0,3}}`{{{len(fence)},}}[ \t]*", line):
            fence = ""
        elif not fence:
            found.append(line)
    assert not fence
    return found


def test_a_folder_without_pools(tmp_path: Path) -> None:
    (tmp_path / "other.parquet").write_bytes(b"")
    with pytest.raises(ShardError, match="found no pools of rollouts; accepted: .*dump_every"):
        load(str(tmp_path))


@pytest.mark.parametrize(
    "table",
    [
        b"no Parquet at all",
        pa.table({"sample": [1]}),
        pa.table({"sample": [1], "id": ["a"], "version": [0], "rollouts": ["none"],
                  "scores": ["x"], "values": ["x"], "counts": ["x"]}),
    ],
)  # fmt: skip
def test_a_damaged_file(tmp_path: Path, table: Any) -> None:
    name = tmp_path / "step-00000001-rank-00000.parquet"
    if isinstance(table, bytes):
        name.write_bytes(table)
    else:
        pq.write_table(table, name)
    with pytest.raises(ShardError, match=r"step-00000001-rank-00000.parquet: not pools of roll"):
        load(str(tmp_path))


def test_a_byte_that_changed_is_noticed(tmp_path: Path) -> None:
    """At any prompt: what is read is what was kept, or it is refused."""
    pools = [(prompt(n), group("a" * n, "b", sample=n)) for n in range(9)]
    write(str(tmp_path), 1, 0, pools)
    file = tmp_path / "step-00000001-rank-00000.parquet"
    kept, whole = pools_of(Folder(str(tmp_path)), file.name), file.read_bytes()
    refused = 0
    for at in range(0, len(whole), 7):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
        try:
            assert pools_of(Folder(str(tmp_path)), file.name) == kept, at
        except ShardError as error:
            refused += "not pools of rollouts: " in str(error)
    assert refused > len(whole) / 14


@pytest.mark.parametrize("column", ["doc_id", "prefix", "original"])
def test_a_text_that_another_program_wrote_is_noticed(tmp_path: Path, column: str) -> None:
    write(str(tmp_path), 1, 0, [(prompt(), group("a"))])
    file = tmp_path / "step-00000001-rank-00000.parquet"
    table = pq.read_table(file)
    at = table.column_names.index(column)
    pq.write_table(table.set_column(at, table.field(at), [["other"]]), file)
    with pytest.raises(ShardError, match="not pools of rollouts: found others than were written"):
        load(str(tmp_path))


def test_a_pool_that_is_there_twice(tmp_path: Path) -> None:
    for step in (1, 2):
        write(str(tmp_path), step, 0, [(prompt(3), group("a", sample=3))])
    with pytest.raises(ShardError, match="step-00000002-.*: sample 3, row row: found twice"):
        load(str(tmp_path))

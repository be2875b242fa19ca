"""The pass mechanism: order, commits, resume, refusal, audit; killed anywhere, nothing is lost."""

import asyncio
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prewrite.base.errors import ConfigError, EngineError, InputError, Interrupted, ShardError
from prewrite.base.files import Folder
from prewrite.base.owned import OwnedFolder
from prewrite.pipeline.config import RunConfig
from prewrite.pipeline.passes import Document
from prewrite.pipeline.run import run_pass
from prewrite.shards import merge, names
from prewrite.shards.manifest import Manifest
from prewrite.shards.merge import FILE_BYTES
from prewrite.shards.parts import files_of
from prewrite.shards.reader import ShardSet
from prewrite.shards.schema import Row
from prewrite.shards.verify import verify
from tests.pipeline.fake import Before, InstantPass, uneven


def rows_of(url: Path) -> list[Row]:
    return list(ShardSet(str(url)).rows())


def run(job: InstantPass, out: Path, rows: int = 40) -> Manifest:
    return run_pass(job, str(out), RunConfig(rows_per_part=rows))


def job_of(corpus: Path, **settings: object) -> InstantPass:
    return InstantPass((f"{corpus}/*.jsonl",), **settings)  # type: ignore[arg-type]


def texts_of(corpus: Path) -> list[str]:
    """What the corpus says, read without this project."""
    texts = []
    for path in sorted(corpus.glob("*.jsonl")):
        for line in path.read_text().splitlines():
            try:
                texts.append(json.loads(line)["text"])
            except ValueError:
                continue
    return texts


def test_a_set_holds_every_document_in_order(corpus: Path, tmp_path: Path) -> None:
    manifest = run(job_of(corpus, before=uneven), tmp_path / "set")
    rows = rows_of(tmp_path / "set")
    documents: dict[str, str] = {}
    for row in rows:
        documents[row["doc_id"]] = documents.get(row["doc_id"], "") + row["original"]
    assert list(documents.values()) == texts_of(corpus)
    assert len({row["id"] for row in rows}) == len(rows) == manifest.rows
    assert manifest.statuses == {"ok": manifest.rows}
    assert manifest.documents == len(documents)
    assert verify(str(tmp_path / "set"))["problems"] == []


def test_parts_end_with_documents_and_hold_enough_rows(corpus: Path, tmp_path: Path) -> None:
    manifest = run(job_of(corpus), tmp_path / "set", rows=50)
    shards = ShardSet(tmp_path / "set")
    assert len(shards.parts) == manifest.parts > 3
    by_split: dict[str, list[int]] = {}
    for part in shards.parts:
        by_split.setdefault(part.name.split("-")[0], []).append(part.rows)
        file = pq.ParquetFile(tmp_path / "set" / part.file)
        assert part.group is not None
        table = file.read_row_group(part.group).to_pylist()
        assert len(table) == part.rows
        assert table[0]["chunk"] == 0
        assert table[-1]["chunk"] == table[-1]["chunks"] - 1
    assert all(rows >= 50 for parts in by_split.values() for rows in parts[:-1])


def test_skipped_records_are_named(corpus: Path, tmp_path: Path) -> None:
    manifest = run(job_of(corpus), tmp_path / "set")
    assert manifest.skipped == {"broken_json": 2}
    assert [(Path(s.file).name, s.line) for s in manifest.skipped_records] == [
        ("c4.jsonl", 8),
        ("oscar.jsonl", 8),
    ]
    lines = (tmp_path / "set" / names.SKIPPED).read_text().splitlines()
    assert [json.loads(line)["reason"] for line in lines] == ["broken_json"] * 2


def test_inputs_are_recorded_with_their_digest(corpus: Path, tmp_path: Path) -> None:
    manifest = run(job_of(corpus), tmp_path / "set")
    for item in manifest.inputs:
        assert item.sha256 == Folder(str(corpus)).sha256(Path(item.path).name)
        assert item.records == len(Path(item.path).read_text().splitlines())


def test_too_many_bad_records_stop_the_run_and_a_higher_limit_goes_on(
    corpus: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"2 of \d+ input records are bad, .*max_bad_rows = 0.01"):
        run(job_of(corpus, max_bad_rows=0.01), tmp_path / "set")
    assert run(job_of(corpus, max_bad_rows=0.1), tmp_path / "set").status == "complete"


def test_a_complete_set_is_left_alone(corpus: Path, tmp_path: Path) -> None:
    run(job_of(corpus), tmp_path / "set")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "set").rglob("*")}
    run(job_of(corpus), tmp_path / "set")
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "set").rglob("*")}


def test_another_configuration_is_refused_with_the_difference(corpus: Path, tmp_path: Path) -> None:
    run(job_of(corpus), tmp_path / "set")
    with pytest.raises(ConfigError, match=r"seed: 0 → 1"):
        run(job_of(corpus, seed=1), tmp_path / "set")


def test_commits_that_do_not_fit_are_found(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    with pytest.raises(EngineError, match="the engine is dead"):
        run(job_of(corpus, before=failing_at(30), window=8), out, rows=10)
    record = next((out / names.RECORDS).glob("00000-00001-*.json"))
    data = json.loads(record.read_text())
    data["start"] += 1
    record.write_text(json.dumps(data))
    with pytest.raises(ShardError, match="do not fit together"):
        run(job_of(corpus), out, rows=10)


def failing_at(number: int, interrupt: bool = False) -> Before:
    """At document `number` of this run the engine dies, or somebody sends SIGTERM."""
    seen = itertools.count(1)

    async def before(document: Document) -> None:
        await asyncio.sleep(0)
        if next(seen) == number:
            if not interrupt:
                raise EngineError("the engine is dead")
            signal.raise_signal(signal.SIGTERM)

    return before


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    stops=st.lists(st.tuples(st.integers(1, 70), st.booleans()), max_size=4),
    rows=st.integers(1, 90),
    file_bytes=st.sampled_from((1, 1 << 14, 1 << 15, FILE_BYTES)),
)
def test_stopped_anywhere_every_row_is_there_once(
    corpus: Path,
    tmp_path_factory: pytest.TempPathFactory,
    stops: list[tuple[int, bool]],
    rows: int,
    file_bytes: int,
) -> None:
    """A dead engine or a signal, any number of times, at any document, with any part size, merged
    at the end or meanwhile too.
    """
    out = tmp_path_factory.mktemp("property") / "set"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merge, "FILE_BYTES", file_bytes)
        _stopped(corpus, out, stops, rows)
    whole = "".join(row["original"] for row in rows_of(out))
    assert whole == "".join(texts_of(corpus))
    assert verify(str(out))["problems"] == []
    files = assert_alone(out)
    assert len(files) == 1 or file_bytes < FILE_BYTES
    small = [size for size in files.values() if size < file_bytes]
    assert len(small) <= 1


def _stopped(corpus: Path, out: Path, stops: list[tuple[int, bool]], rows: int) -> None:
    """Runs that are stopped, and one to the end."""
    paths = (f"{corpus}/*.jsonl",)
    for number, interrupt in stops:
        try:
            run(InstantPass(paths, before=failing_at(number, interrupt), window=8), out, rows)
        except Interrupted:
            assert Manifest.load(Folder(str(out))).status == "interrupted"
        except EngineError:
            pass
    run(InstantPass(paths), out, rows)


def assert_alone(out: Path) -> dict[str, int]:
    """The folder holds the set, no row twice, and nothing else; its files with rows."""
    shards = ShardSet(out)
    parts = files_of(shards.parts)
    assert all(len(mine) == mine[0].groups for mine in parts.values())
    listed = {*parts, *(file.name for file in shards.manifest.log)}
    beside = {names.CARD, names.MANIFEST, names.SKIPPED}
    found = [path for path in out.rglob("*") if not path.is_dir() or path.name.startswith(".")]
    assert {str(path.relative_to(out)) for path in found} == listed | beside
    assert not (out / names.RECORDS).exists()
    return {name: mine[0].file_bytes for name, mine in parts.items()}


SCRIPT = """
import sys
from prewrite.pipeline.config import RunConfig
from prewrite.pipeline.run import run_pass
from tests.pipeline.fake import InstantPass, uneven
if __name__ == "__main__":
    run_pass(InstantPass((sys.argv[1],), before=uneven), sys.argv[2], RunConfig(rows_per_part=20))
"""


def test_killed_at_random_moments_every_row_is_there_once(corpus: Path, tmp_path: Path) -> None:
    """Real SIGKILLs of a real process, seeded; then one run to the end."""
    script, out = tmp_path / "run.py", tmp_path / "set"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), f"{corpus}/*.jsonl", str(out)]
    draw = random.Random(0)
    for _ in range(5):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=_environment())
        deadline = time.monotonic() + 60
        while not (out / names.RECORDS).exists() and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        time.sleep(draw.uniform(0, 0.8))
        process.kill()
        process.wait()
    subprocess.run(command, check=True, env=_environment(), timeout=120)
    assert "".join(r["original"] for r in rows_of(out)) == "".join(texts_of(corpus))
    assert verify(str(out))["problems"] == []
    assert len(assert_alone(out)) == 1


def test_small_files_are_merged_meanwhile_and_their_records_go(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a folder never holds more small files than make a large one. Rows are the same."""
    out, most = tmp_path / "set", 0

    async def count(document: Document) -> None:
        nonlocal most
        most = max(most, len(list(out.glob("data/*"))), len(list(out.glob(f"{names.RECORDS}/*"))))

    run(job_of(corpus), tmp_path / "whole", rows=10)
    monkeypatch.setattr(merge, "FILE_BYTES", 1 << 13)
    run(job_of(corpus, before=count), out, rows=10)
    files = assert_alone(out)
    assert len(files) > 4 and most < ShardSet(out).manifest.parts / 2
    assert rows_of(out) == rows_of(tmp_path / "whole")


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path.cwd()), "TOKENIZERS_PARALLELISM": "false"}


def test_a_run_that_made_nothing_leaves_nothing(corpus: Path, tmp_path: Path) -> None:
    """So that the corrected recipe is not refused as another configuration."""
    with pytest.raises(EngineError):
        run(job_of(corpus, before=failing_at(1), window=8), tmp_path / "set")
    assert not (tmp_path / "set").exists()
    assert run(job_of(corpus, seed=1), tmp_path / "set").status == "complete"


def test_killed_while_a_run_that_made_nothing_is_removed(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the marks of open documents are gone, the manifest says whose they are."""

    def killed(self: OwnedFolder, name: str) -> None:
        if name == names.RECORDS:
            raise KeyboardInterrupt
        remove(self, name)

    remove, out = OwnedFolder.remove, tmp_path / "set"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(OwnedFolder, "remove", killed)
        run(job_of(corpus, before=failing_at(1), window=8), out)
    assert list((out / names.RECORDS).glob("*.open"))
    assert run(job_of(corpus, seed=1), out).status == "complete"


def test_killed_before_the_first_commit_another_configuration_may_start(
    corpus: Path, tmp_path: Path
) -> None:
    first = job_of(corpus)
    first.begin(first.source.splits()).save(Folder(str(tmp_path / "set")))
    assert run(job_of(corpus, seed=1), tmp_path / "set").passes[0].config["seed"] == 1


def test_a_pass_that_loses_a_row_is_stopped(corpus: Path, tmp_path: Path) -> None:
    async def lose(document: Document) -> None:
        if len(document.rows) > 2:
            document.rows.pop()

    with pytest.raises(ShardError, match="changed the rows"):
        run(job_of(corpus, before=lose), tmp_path / "set")


def test_the_next_part_starts_while_the_last_rows_of_one_are_open(
    corpus: Path, tmp_path: Path
) -> None:
    """One slow document must not empty the engine, and no more than two parts may be open."""
    started, while_open = 0, 0

    async def slow_first(document: Document) -> None:
        nonlocal started, while_open
        started += len(document.rows)
        if document.rows[0]["doc_id"] == "c4.jsonl/0":
            await asyncio.sleep(0.5)
            while_open = started

    run(job_of(corpus, before=slow_first, window=500), tmp_path / "set", rows=40)
    longest = max(row["chunks"] for row in rows_of(tmp_path / "set"))
    assert 2 * 40 <= while_open < 2 * (40 + longest)


def test_a_part_is_closed_at_a_number_of_bytes_too(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that rows with a large `meta` do not fill the memory; ids and rows stay the same."""
    whole = run(job_of(corpus), tmp_path / "whole", rows=10**9)
    assert whole.parts == 3
    monkeypatch.setattr("prewrite.pipeline.loop._LARGEST", 8 << 10)
    cut = run(job_of(corpus), tmp_path / "cut", rows=10**9)
    assert cut.parts > 6
    assert rows_of(tmp_path / "cut") == rows_of(tmp_path / "whole")

"""A run whose corpus and output are on an object store: one PUT a part, and nothing left over."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from prewrite.base.config import load
from prewrite.base.errors import EngineError
from prewrite.base.files import Folder
from prewrite.base.whole import written
from prewrite.rewrite.command import run
from prewrite.rewrite.config import RewriteRecipe
from prewrite.shards.export import Export
from prewrite.shards.export_files import export
from prewrite.shards.manifest import Manifest
from prewrite.shards.names import RECORDS
from prewrite.shards.reader import ShardSet
from prewrite.shards.verify import verify
from tests.commands import rewrite
from tests.commands import rewrite as rewrite_command
from tests.commands import shards as main
from tests.engine.fault_server import Call, Fault, FaultServer
from tests.pipeline.object_store import CORPUS, DOCUMENTS, FILES, OUTPUT, Moto
from tests.pipeline.runs import assert_whole, ended, recipe, rows, start
from tests.rewrite.flaky import asked, flaky, holes, uneven
from tests.rewrite.flaky import rows as flaky_rows
from tests.shards.scored import scored_set


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as running:
        yield running


def config(folder: Path, server: FaultServer, **changes: Any) -> Path:
    path = folder / "recipe.yaml"
    changes = {"corpus": CORPUS, "output": OUTPUT} | changes
    path.write_text(recipe(endpoint=server.url, rows_per_part=8, **changes))
    return path


def run_once(path: Path) -> None:
    run(load(RewriteRecipe, str(path)))


def puts(lines: list[str]) -> list[str]:
    """Keys of all that was written, by lines of the store's log: each by one request, but for
    merged files, which are uploads in pieces that are completed.
    """
    begun = [re.search(r'"POST /sets/out/([^ ?]*)\?uploads', line) for line in lines]
    ended = [re.search(r'"POST /sets/out/([^ ?]*)\?uploadId', line) for line in lines]
    assert [m[1] for m in begun if m] == [m[1] for m in ended if m]
    found = [re.search(r'"PUT /sets/out/([^ ?]*) ', line) for line in lines]
    return [match[1] for match in (*found, *ended) if match]


def test_from_bucket_to_bucket(
    tmp_path: Path,
    moto: Moto,
    store: Any,
    server: FaultServer,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = config(tmp_path, server, judge=True)
    before = len(moto.log.read_text().splitlines())
    run_once(path)
    written = puts(moto.log.read_text().splitlines()[before:])
    assert_whole(OUTPUT)
    assert_whole(f"{OUTPUT}/_rewrites")
    manifest = ShardSet(OUTPUT).manifest
    assert manifest.documents == FILES * DOCUMENTS
    assert [item.path for item in manifest.inputs] == [
        "s3://corpus/in/0.jsonl",
        "s3://corpus/in/1.jsonl",
    ]
    assert all(row["original_quality"] is not None for row in rows(OUTPUT, ["original_quality"]))
    parts = [name for name in written if "/train-" in name]
    assert len(parts) == len(set(parts)) > 4, "more than one PUT a part"
    assert "good" not in capsys.readouterr().err
    assert verify(OUTPUT)["problems"] == []

    asked = len(server.calls)
    run_once(path)
    assert "the set is complete; nothing to do" in capsys.readouterr().out
    assert len(server.calls) == asked


def test_a_broken_run_goes_on_where_it_was(tmp_path: Path, store: Any, server: FaultServer) -> None:
    def plan(call: Call) -> Fault | None:
        return Fault(401) if call.number == 40 else None

    server.plan = plan
    path = config(tmp_path, server)
    with pytest.raises(EngineError, match="HTTP 401"):
        run_once(path)
    kept = [name for name in Folder(OUTPUT).names() if name.startswith(f"{RECORDS}/")]
    assert kept
    asked = len(server.calls)
    run_once(path)
    assert_whole(OUTPUT)
    again = len(server.calls) - asked
    assert again < ShardSet(OUTPUT).manifest.rows, "it began anew"


def test_workers_on_an_object_store(tmp_path: Path, store: Any, server: FaultServer) -> None:
    path = config(tmp_path, server)
    code, _, err = ended(start(path, "run.workers=2", "run.tasks=2", scratch=tmp_path / "tmp"), 180)
    assert code == 0, err
    store.invalidate_cache()
    assert_whole(OUTPUT)


def test_what_failed_is_asked_again(
    tmp_path: Path,
    store: Any,
    server: FaultServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Killed right before the new generation becomes the set."""
    path = str(config(tmp_path, server, judge=True))
    server.plan = flaky
    assert rewrite(["--config", path]) == 0
    old = flaky_rows(OUTPUT)
    server.plan = uneven

    class Killed(BaseException):
        pass

    def kill(self: Manifest, folder: Folder, real: Any = Manifest.save) -> None:
        if folder.url == OUTPUT and self.generation == 2:
            raise Killed
        real(self, folder)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Manifest, "save", kill)
        rewrite(["--config", path, "--retry-failed"])
    store.invalidate_cache()
    assert flaky_rows(OUTPUT) == old
    asked(server)
    assert rewrite(["--config", path]) == 1
    assert "run this command with --retry-failed" in capsys.readouterr().err
    assert rewrite(["--config", path, "--retry-failed"]) == 0
    assert not asked(server), "all was committed"
    store.invalidate_cache()
    assert rewrite(["--config", path]) == 0
    assert_whole(OUTPUT)
    assert_whole(f"{OUTPUT}/_rewrites")
    assert not any(map(holes, flaky_rows(OUTPUT).values()))


@pytest.mark.parametrize("place", ["corpus", "output"])
def test_a_bucket_that_is_not_there(
    tmp_path: Path,
    store: Any,
    server: FaultServer,
    place: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = config(tmp_path, server, **{place: "s3://nowhere/here.jsonl"})
    code = rewrite_command(["--config", str(path)])
    (line,) = capsys.readouterr().err.splitlines()
    assert code == 1
    assert line.startswith("error: ") and "nowhere" in line


def names(store: Any) -> list[str]:
    store.invalidate_cache()
    return [path.removeprefix("sets/") for path in store.ls("sets")]


def test_an_export_appears_whole_or_not_at_all(store: Any, tmp_path: Path) -> None:
    """Also one in pieces, which an object store keeps out of sight until it is completed."""
    url = scored_set(tmp_path / "set")
    export(Export(url, "pair"), "s3://sets/pairs.jsonl")
    lines = [json.loads(line) for line in store.cat_file("sets/pairs.jsonl").splitlines()]
    assert lines == list(Export(url, "pair"))
    block = bytes(range(256)) * (1 << 16)  # 16 MiB
    with written("s3://sets/large") as stream:
        for _ in range(4):
            stream.write(block)
        assert "large" not in names(store)
    assert store.info("sets/large", refresh=True)["size"] == 4 * len(block)
    with pytest.raises(ZeroDivisionError), written("s3://sets/lost") as stream:
        for _ in range(4):
            stream.write(block)
        raise ZeroDivisionError
    assert names(store) == ["large", "pairs.jsonl"]
    assert not store.list_multipart_uploads("sets")


def test_a_bucket_that_is_not_there_is_one_sentence(
    store: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = scored_set(tmp_path / "set")
    assert main(["export", url, "--to", "s3://nowhere/a.jsonl"]) == 1
    assert capsys.readouterr().err.startswith("error: s3://nowhere/a.jsonl: cannot write: ")

"""An object store that fails: retried without loss or repetition, then one sentence."""

import json
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from prewrite.shards.reader import ShardSet
from tests.engine.fault_server import FaultServer
from tests.pipeline.object_store import CORPUS, DOCUMENTS, FILES, OUTPUT, Moto, serving
from tests.pipeline.runs import assert_whole, corpus_lines, ended, recipe, start

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

READ = {"method": "GET|HEAD", "path": "/corpus/in/"}
WRITE = {"method": "PUT", "path": "/sets/out/"}
ANY = {"method": ".", "path": "/(corpus|sets)/"}


@dataclass
class Faulty:
    """A run of the command whose object store is behind the proxy."""

    folder: Path
    endpoint: str

    def plan(self, *faults: dict[str, Any], seed: int = 0, after: int = 0) -> None:
        """What fails from now on."""
        plan = {"seed": seed, "after": after, "faults": faults}
        (self.folder / "plan.json").write_text(json.dumps(plan))

    def start(self, *overrides: str) -> "subprocess.Popen[str]":
        path = self.folder / "recipe.yaml"
        path.write_text(recipe(CORPUS, OUTPUT, self.endpoint, rows_per_part=8))
        return start(path, *overrides, scratch=self.folder / "scratch")

    def injected(self) -> Counter[str]:
        """How often each fault came."""
        lines = (self.folder / "requests.log").read_text().splitlines()
        return Counter(kind for _, _, kind in map(json.loads, lines) if kind)


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as running:
        yield running


@pytest.fixture
def faulty(
    tmp_path: Path, moto: Moto, store: Any, server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Faulty]:
    """`store` is spoken to directly, the command's own requests go through the proxy."""
    run = Faulty(tmp_path, server.url)
    run.plan()
    files = (str(tmp_path / "plan.json"), str(tmp_path / "requests.log"))
    store.ls("sets")
    with serving(tmp_path / "proxy", "tests.pipeline.faulty_store", moto.url, *files) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        monkeypatch.setenv("AWS_RETRY_MODE", "standard")
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "4")
        monkeypatch.setenv("FSSPEC_S3", json.dumps({"config_kwargs": {"read_timeout": 1}}))
        yield run
    store.invalidate_cache()


def assert_every_document_once(store: Any) -> None:
    """And not a byte of any text differs."""
    store.invalidate_cache()
    assert_whole(OUTPUT)
    found: dict[str, str] = {}
    for row in ShardSet(OUTPUT).rows(["doc_id", "original"]):
        found[row["doc_id"]] = found.get(row["doc_id"], "") + row["original"]
    lines = [line for n in range(FILES) for line in corpus_lines(n, DOCUMENTS).splitlines()]
    assert list(found.values()) == [json.loads(line)["text"] for line in lines]


def assert_no_half_part(store: Any) -> int:
    """Every part there is can be read to its end, listed or not; returns their number."""
    store.invalidate_cache()
    parts = [path for path in store.find("sets") if "/train-" in path]
    for path in parts:
        with store.open(path, "rb") as stream:
            assert pq.read_table(stream).num_rows > 0
    return len(parts)


def one_sentence(process: "subprocess.Popen[str]") -> str:
    """The line of a command that failed as it should."""
    code, _, err = ended(process, 240)
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert code == 1 and len(lines) == 1 and "Traceback" not in err, err
    return lines[0]


@pytest.fixture
def few_attempts(monkeypatch: pytest.MonkeyPatch, faulty: Faulty) -> None:
    """Every attempt fails in these tests, so two show as much as four."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")


def test_faults_now_and_then_lose_and_repeat_nothing(faulty: Faulty, store: Any) -> None:
    faulty.plan(
        {"kind": "error", "share": 0.1, **ANY},
        {"kind": "cut", "share": 0.1, **ANY},
        {"kind": "lost", "share": 0.1, **WRITE},
        {"kind": "slow", "share": 0.03, **ANY},
        seed=1,
    )
    code, _, err = ended(faulty.start("run.workers=2", "run.tasks=2"), 240)
    assert code == 0, err
    assert len(faulty.injected()) >= 3  # which ones, depends on which worker asked first
    assert_every_document_once(store)


@pytest.mark.parametrize("kind", ["error", "cut", "short", "slow"])
def test_each_fault_of_reading(faulty: Faulty, store: Any, kind: str) -> None:
    """The first requests for the corpus fail, later ones do not."""
    faulty.plan({"kind": kind, "share": 0.5, **READ}, seed=3)
    code, _, err = ended(faulty.start(), 240)
    assert code == 0, err
    assert faulty.injected()[kind] > 0
    assert_every_document_once(store)


@pytest.mark.parametrize("kind", ["error", "cut", "lost", "slow"])
def test_each_fault_of_writing(faulty: Faulty, store: Any, kind: str) -> None:
    faulty.plan({"kind": kind, "share": 0.2, **WRITE}, seed=4)
    code, _, err = ended(faulty.start(), 240)
    assert code == 0, err
    assert faulty.injected()[kind] > 0
    assert_every_document_once(store)


@pytest.mark.usefixtures("few_attempts")
@pytest.mark.parametrize(("kind", "workers"), [("error", 1), ("cut", 2)])
def test_a_store_that_takes_nothing_more(
    faulty: Faulty, store: Any, server: FaultServer, kind: str, workers: int
) -> None:
    """Retries are used up: one sentence; the same command continues where it was."""
    shape = (f"run.workers={workers}", "run.tasks=2")
    faulty.plan({"kind": kind, "share": 1.0, **WRITE}, after=8)
    sentence = one_sentence(faulty.start(*shape))
    assert "s3://sets/out/" in sentence and ": cannot write: " in sentence
    assert assert_no_half_part(store) > 0
    asked = len(server.calls)
    faulty.plan()
    code, _, err = ended(faulty.start(*shape), 240)
    assert code == 0, err
    assert len(server.calls) - asked < ShardSet(OUTPUT).manifest.rows, "it began anew"
    assert_every_document_once(store)


@pytest.mark.usefixtures("few_attempts")
@pytest.mark.parametrize(("kind", "workers"), [("cut", 1), ("error", 2)])
def test_a_corpus_that_cannot_be_read_any_more(
    faulty: Faulty, store: Any, kind: str, workers: int
) -> None:
    second = {"method": "GET", "path": "/corpus/in/1.jsonl"}
    shape = (f"run.workers={workers}", "run.tasks=2", "input.layout=text")
    faulty.plan({"kind": kind, "share": 1.0, **second})
    sentence = one_sentence(faulty.start(*shape))
    assert sentence.startswith("error: s3://corpus/in/1.jsonl: cannot read: ")
    assert_no_half_part(store)
    faulty.plan()
    code, _, err = ended(faulty.start(*shape), 240)
    assert code == 0, err
    assert_every_document_once(store)


@pytest.mark.usefixtures("few_attempts")
def test_an_answer_of_no_bytes_is_not_the_end_of_a_file(
    faulty: Faulty, store: Any, tmp_path: Path
) -> None:
    """Halves of halves come down to nothing, which a library takes for the end."""
    faulty.plan({"kind": "short", "share": 1.0, "method": "GET", "path": "/corpus/in/0"})
    sentence = one_sentence(faulty.start("input.layout=text"))
    assert sentence.startswith("error: s3://corpus/in/0.jsonl: cannot read: ")

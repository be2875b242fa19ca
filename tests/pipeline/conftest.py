"""A small corpus of real text for the mechanism's tests, and an object store."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.object_store import KEYS, Moto, fill, new_file_system, serving

SAMPLE = Path("configs/sample")


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Three files: sixty documents of real text, two bad records among them."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    for name in ("c4", "oscar", "wikipedia"):
        texts = [
            json.loads(line)["text"] for line in (SAMPLE / f"{name}.jsonl").read_text().splitlines()
        ]
        pieces = [text[i : i + 300] for text in texts for i in range(0, 2100, 300)]
        lines = [json.dumps({"text": piece}) for piece in pieces if piece.strip()]
        if name != "wikipedia":
            lines.insert(7, '{"text": "broken')
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moto]:
    """A process of its own: vLLM looks at every global of every module, and Flask's raise."""
    log = tmp_path_factory.mktemp("moto") / "log"
    with serving(log, "moto.server", "-H", "127.0.0.1", "-p", "0") as url:
        yield Moto(url, log)


@pytest.fixture
def store(moto: Moto, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The file system of an object store with a corpus in one bucket and an empty other one."""
    for name, value in {"AWS_ENDPOINT_URL": moto.url, **KEYS}.items():
        monkeypatch.setenv(name, value)
    fs = new_file_system()
    fill(fs)
    yield fs
    for bucket in ("corpus", "sets"):
        fs.rm(bucket, recursive=True)
    new_file_system()

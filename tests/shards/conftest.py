"""A small corpus of real text for the mechanism's tests."""

import json
from pathlib import Path

import pytest

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

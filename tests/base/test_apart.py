"""Two places that are one are found out, whatever they are called."""

from pathlib import Path

import pytest

from prewrite.base.apart import lies_in


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folders `a/b` and `other`, links to each, and the working folder beside them."""
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "link").symlink_to("a")
    (tmp_path / "other/up").symlink_to(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    monkeypatch.chdir(tmp_path / "other")
    return tmp_path


@pytest.mark.parametrize("outer", ["{}/a", "../a", "../a/", "../link", "up/a", "file://{}/a",
                                   "../a/b/..", "up/other/up/link", "{}/./a"])  # fmt: skip
def test_one_lies_in_the_other(here: Path, outer: str) -> None:
    outer = outer.format(here)
    for inner in (".", "b", "b/not/there", "not-there"):
        assert lies_in(f"{here}/a/{inner}", outer)
        assert lies_in(f"{here}/link/{inner}", outer)
        assert lies_in(f"file://{here}/other/up/a/{inner}", outer)


@pytest.mark.parametrize("outer", ["../other", "../a/b", "../ab", "../not-there", "s3://a", "loop",
                                   "memory://a", "nobody://knows", "org/name"])  # fmt: skip
def test_they_are_apart(here: Path, outer: str) -> None:
    assert not lies_in(f"{here}/a", outer)
    assert not lies_in(f"{here}/a.jsonl", f"{here}/a")


def test_places_on_a_store() -> None:
    assert lies_in("memory://bucket/set/part", "memory://bucket/set/")
    assert lies_in("memory://bucket/set", "memory://bucket/set")
    assert not lies_in("memory://bucket/set-2", "memory://bucket/set")
    assert not lies_in("memory://bucket", "memory://bucket/set")

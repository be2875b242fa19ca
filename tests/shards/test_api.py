"""`import prewrite`, as a program uses it: paths, and one sentence for a mistake."""

from pathlib import Path
from typing import Any

import pytest

import prewrite

MADE = Path(__file__).parent / "made_by_0_1/set"


def test_a_path_is_as_good_as_a_text() -> None:
    assert [*prewrite.ShardSet(MADE).rows(["id"])] == [*prewrite.ShardSet(str(MADE)).rows(["id"])]
    assert [*prewrite.Export(MADE)] == [*prewrite.Export(str(MADE), "document")]
    assert prewrite.verify(MADE)["problems"] == []


MISTAKES: list[tuple[Any, str]] = [
    (lambda: prewrite.ShardSet(MADE.parent), "no shard set here"),
    (lambda: next(prewrite.ShardSet(MADE).rows(["orignal"])), "'orignal'; did you mean 'original'"),
    (lambda: prewrite.Export(MADE, "row"), "each: found 'row'; accepted: document, chunk, pair"),  # type: ignore[arg-type]
    (lambda: prewrite.Export(MADE, "chunk", "a >"), "--filter: "),
]


@pytest.mark.parametrize(("mistake", "sentence"), MISTAKES)
def test_a_mistake_is_one_sentence(mistake: Any, sentence: str) -> None:
    with pytest.raises(prewrite.PrewriteError) as found:
        mistake()
    assert sentence in str(found.value) and "\n" not in str(found.value)

"""Corruptions of real text: worse in one known way, the same for a seed."""

import json
import random
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prewrite.judge.measure.corruptions import (
    CORRUPTIONS,
    CorruptionKind,
    corruption_of,
    falsified,
    repeated,
    shuffled,
    truncated,
    with_corruption,
)
from prewrite.judge.measure.sample import SampledRow, sample

DRAW = random.Random
TEXT = (
    " the king met Ptolemy and Antigonus in 280 BC. It was the year of the great flood, as one "
    "says. They spoke for 3 days. What they said, nobody knows.\n\nAll of it went with the library"
)


@pytest.fixture(scope="module")
def sampled(rewritten: str) -> list[SampledRow]:
    return sample(rewritten, 60, 0, 512)


@given(st.text(), st.text(), st.sampled_from(sorted(CORRUPTIONS)), st.integers())
def test_any_text_is_changed_or_left_out(
    text: str, other: str, kind: CorruptionKind, seed: int
) -> None:
    worse = CORRUPTIONS[kind](text, other, DRAW(seed))
    assert worse is None or worse != text
    assert worse == CORRUPTIONS[kind](text, other, DRAW(seed))


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_real_text_can_be_corrupted(kind: CorruptionKind, sampled: list[SampledRow]) -> None:
    other = max((row["original"] for row, _ in sampled), key=len)
    found = [CORRUPTIONS[kind](row["original"], other, DRAW(1)) for row, _ in sampled]
    assert sum(worse is not None for worse in found) > len(sampled) / 3
    assert all(worse != row["original"] for worse, (row, _) in zip(found, sampled, strict=True))


def test_shuffled_keeps_every_word() -> None:
    worse = shuffled(TEXT, "", DRAW(0))
    assert worse is not None and sorted(worse.split()) == sorted(TEXT.split())


def test_repeated_says_fewer_things_in_as_many_words() -> None:
    worse = repeated(TEXT, "", DRAW(0))
    assert worse is not None and len(worse.split()) == len(TEXT.split())
    assert len(set(worse.split())) < len(set(TEXT.split()))


def test_truncated_is_the_beginning() -> None:
    worse = truncated(TEXT, "", DRAW(0))
    assert worse is not None and TEXT.startswith(worse) and len(worse) < len(TEXT) / 2


def test_falsified_changes_names_and_numbers_only() -> None:
    worse = falsified(TEXT, "", DRAW(0))
    assert worse is not None and worse.startswith(" the king met Antigonus and Ptolemy in ")
    assert "280" not in worse and " 3 days" not in worse
    changed = [b for a, b in zip(TEXT.split(), worse.split(), strict=True) if a != b]
    assert len(changed) == 4
    assert falsified("no name and no number", "", DRAW(0)) is None


def test_every_kind_but_that_of_the_model_is_a_function() -> None:
    assert {*get_args(CorruptionKind)} == {*CORRUPTIONS, "model"}


@given(st.dictionaries(st.text(), st.text() | st.integers() | st.none(), max_size=4))
def test_meta_keeps_its_keys_and_says_what_was_done(meta: dict[str, Any]) -> None:
    told = with_corruption(json.dumps(meta), "falsified")
    assert json.loads(told) == meta | {"corruption": "falsified"}
    assert corruption_of(told) == "falsified"


def test_what_is_no_corrupted_row_has_no_kind() -> None:
    assert corruption_of(None) is None and corruption_of('{"a": "corruption"}') is None
    assert with_corruption(None, "model") == with_corruption("{ }", "model")

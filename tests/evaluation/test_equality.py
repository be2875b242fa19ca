"""Values that are equal, and answers that would keep the comparison busy or break it."""

from collections.abc import Iterator

import pytest

from prewrite.base.errors import PrewriteError
from prewrite.evaluation.equality import Comparer


@pytest.fixture(scope="module")
def comparer() -> Iterator[Comparer]:
    made = Comparer()
    yield made
    made.close()


def test_values_are_compared_and_not_texts(comparer: Comparer) -> None:
    for right, answer in (
        (r"\frac{1}{2}", "0.5"),
        ("1,080", "1080"),
        (r"\sqrt{2}", r"\frac{2}{\sqrt{2}}"),
        ("3, -3", r"\{-3, 3\}"),
        ("x = 5", "5"),
        ("p - q", "-q + p"),
        (r"\text{Evelyn}", "Evelyn"),
        ("14.0", "14"),
        ("5", r"5 \text{ km}"),
        ("36", r"\$36"),
    ):
        assert comparer.compare(rf"\boxed{{{right}}}", rf"\boxed{{{answer}}}") == "equal"
    for right, answer in (
        ("5", "6"),
        ("5", "5, 6"),
        ("5", r"5 \text{ or } 6"),
        ("3, -3", "3"),
        ("(1, 3)", "(3, 1)"),
        (r"\text{Evelyn}", r"\text{Bob}"),
    ):
        assert comparer.compare(rf"\boxed{{{right}}}", rf"\boxed{{{answer}}}") == "other"
    assert comparer.compare(r"\boxed{5}", "answer: I cannot tell") == "none"


@pytest.mark.slow
@pytest.mark.parametrize(
    "answer",
    [
        r"9^{9^{9^{9}}}",
        r"2^{99999999999}",
        "{" * 5000 + "5" + "}" * 5000,
    ],
    ids=["tower", "memory", "nested"],
)
def test_what_takes_too_much_is_undecided_and_the_next_one_is_compared(
    comparer: Comparer, answer: str
) -> None:
    assert comparer.compare(r"\boxed{5}", rf"\boxed{{{answer}}}") == "undecided"
    assert comparer.compare(r"\boxed{5}", r"\boxed{5}") == "equal"


def test_a_missing_library_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(PrewriteError, match=r"math_verify is not installed.*prewrite\[eval\]"):
        Comparer().compare("5", "5")

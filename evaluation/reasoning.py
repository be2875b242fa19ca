r"""The reasoning sets of `configs/eval/reasoning`: their questions, and the mark of every sample.

A question is answered many times, and `mean@16` is the mean over all 16 answers, then over the
questions: no majority, and not the first. An answer counts where it is marked as one: the last
`\boxed{…}`, else the last line with `####`, else the last `answer is` or `answer:`. A number that
merely comes last in a text is none. An answer that is missing or that cannot be compared is wrong,
and its share is told beside the mean, as `unanswered` and `undecided`.
"""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from prewrite.base.errors import InputError
from prewrite.evaluation.equality import compare

_BRACES = re.compile(r"\\boxed\s*\{|\\[\\{}]|[{}]")
_HASHES = re.compile(r"^[ \t]*####[ \t]*", re.MULTILINE)
_ANSWER = re.compile(r"\banswer[\s*]*(?:is\b|:|=)[\s*:]*", re.IGNORECASE)
_LETTER = re.compile(
    r"[^A-Za-z0-9]*(?:(?:text|math)[a-z]*\{)?[(\s]*([A-D])(?:[).:;}*$]|\s*$|\s+(?:because|since)\b)"
)
_DOLLAR = re.compile(r"(?<!\\)\$")


def boxed(text: str) -> str | None:
    r"""What the last `\boxed{…}` that is closed has inside, outermost; None without one."""
    found, opened = None, list[re.Match[str]]()
    for one in _BRACES.finditer(text):
        if one[0].endswith("{") and one[0] != r"\{":
            opened.append(one)
        elif one[0] == "}" and opened:
            brace = opened.pop()
            if brace[0] != "{":
                found = text[brace.end() : one.start()]
    return found


def marked(text: str) -> str | None:
    """What a text names as its answer; None where it names none."""
    inside = boxed(text)
    if inside is not None:
        return inside.strip() or None
    for mark in (_HASHES, _ANSWER):
        ends = [one.end() for one in mark.finditer(text)]
        if ends:
            return text[ends[-1] :].partition("\n")[0].strip() or None
    return None


def letter(text: str) -> str | None:
    """The letter, A to D, that a text names as its answer, alone or before its option."""
    found = _LETTER.match(marked(text) or "")
    return found[1] if found else None


def mathematics(doc: Mapping[str, Any], results: Sequence[Sequence[str]]) -> dict[str, float]:
    """The measures of one question from all of its samples, compared by math-verify."""
    (samples,) = results
    verdicts = [_compared(doc["right"], sample) for sample in samples]
    return {
        f"mean@{len(samples)}": verdicts.count("equal") / len(samples),
        "unanswered": verdicts.count("none") / len(samples),
        "undecided": verdicts.count("undecided") / len(samples),
    }


def choice(doc: Mapping[str, Any], results: Sequence[Sequence[str]]) -> dict[str, float]:
    """The measures of one question with options from all of its samples, by letter."""
    (samples,) = results
    letters = [letter(sample) for sample in samples]
    return {
        f"mean@{len(samples)}": letters.count(doc["right"]) / len(samples),
        "unanswered": letters.count(None) / len(samples),
    }


def _compared(right: str, sample: str) -> str:
    answer = marked(sample)
    if answer is None:
        return "none"
    in_a_box = boxed(sample) is not None
    # After `answer:` math-verify takes the first value, and so not what a remark behind it says.
    shown = f"\\boxed{{{answer}}}" if in_a_box else f"answer: {answer}"
    return compare(f"\\boxed{{{right}}}", shown)


def gsm8k(rows: Any) -> Any:
    """`question`, and as `right` what follows `####` in `answer`."""
    return _made(rows, lambda row: (row["question"], row["answer"].rpartition("####")[2]))


def problems(rows: Any) -> Any:
    """`problem` or `question`, and `answer`."""
    return _made(rows, lambda row: (row.get("problem") or row["question"], row["answer"]))


def olympiad(rows: Any) -> Any:
    """`question`, and all of `final_answer`, in any order."""
    return _made(rows, lambda row: (row["question"], ", ".join(row["final_answer"])))


def gpqa(rows: Any) -> Any:
    """`Question`, its four `options`, and as `right` the letter of `Correct Answer`."""
    return rows.from_list([_row(number, row, _shuffled) for number, row in enumerate(rows)])


def _made(rows: Any, read: Callable[[dict[str, Any]], tuple[Any, Any]]) -> Any:
    def one(row: dict[str, Any]) -> dict[str, Any]:
        question, right = read(row)
        return {"question": question.strip(), "right": _DOLLAR.sub("", str(right)).strip()}

    return rows.from_list([_row(number, row, one) for number, row in enumerate(rows)])


def _row(
    number: int, row: dict[str, Any], made: Callable[[dict[str, Any]], dict[str, Any]]
) -> dict[str, Any]:
    """InputError for a row that has not the fields of its set, or no right answer."""
    try:
        found = made(row)
    except KeyError as error:
        fields = ", ".join(sorted(row))
        raise InputError(f"row {number + 1} has no field {error}; found: {fields}") from None
    except (AttributeError, TypeError) as error:
        raise InputError(f"row {number + 1} has a field of another type: {error}") from None
    if not found["question"] or not found["right"]:
        raise InputError(f"row {number + 1} has no question or no right answer")
    return found


def _shuffled(row: dict[str, Any]) -> dict[str, Any]:
    """The options in an order that depends on question and options alone."""
    question, right = row["Question"].strip(), row["Correct Answer"].strip()
    wrong = [row[f"Incorrect Answer {number}"].strip() for number in (1, 2, 3)]

    def place(option: str) -> bytes:
        return hashlib.sha256(f"{question}\0{option}".encode()).digest()

    options = sorted([right, *wrong], key=place)
    return {"question": question, "options": options, "right": "ABCD"[options.index(right)]}

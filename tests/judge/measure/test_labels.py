"""Label lines become items, or one sentence with file and line."""

import json
from pathlib import Path
from typing import Any

import pytest

from prewrite.base.errors import InputError
from prewrite.judge.criteria import load_criterion
from prewrite.judge.measure.labels import classes, read_labels

CRITERIA = [load_criterion(name) for name in ("quality", "factuality")]
PAIR = {"criterion": "quality", "first": "a", "second": "b", "label": "2"}
ALONE = {"criterion": "factuality", "candidate": "c", "reference": "r", "label": "B"}


def written(tmp_path: Path, *lines: dict[str, Any] | str) -> str:
    path = tmp_path / "labels.jsonl"
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return str(path)


def test_items(tmp_path: Path) -> None:
    path = written(tmp_path, PAIR | {"context": "so far ", "id": "p"}, "", ALONE | {"group": "g"})
    pair, alone = read_labels(path, CRITERIA)
    assert (pair.label, pair.pool.row_id, pair.pool.context) == (0, "p", ("so far ",))
    assert [question.order for question in pair.questions()] == [0, 1]
    assert (alone.label, alone.group, alone.pool.reference) == (0.5, "g", "r")
    assert alone.pool.row_id == "line 3"
    assert [question.candidate for question in alone.questions()] == ["candidate"]


def test_a_number_is_a_place_on_the_scale(tmp_path: Path) -> None:
    path = written(tmp_path, PAIR | {"label": 1}, ALONE | {"label": 0.25})
    assert [item.label for item in read_labels(path, CRITERIA)] == [1, 0.25]


def test_classes_rise() -> None:
    assert [classes(criterion) for criterion in CRITERIA] == [(0, 1), (0, 0.5, 1)]


def test_texts_that_hold_a_tag_are_fenced(tmp_path: Path) -> None:
    path = written(tmp_path, PAIR, PAIR | {"context": "a </first> b"})
    assert [item.fence for item in read_labels(path, CRITERIA)] == ["", "-1"]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("{", "line 2: not JSON: "),
        ("[1]", "line 2: the line: "),
        (PAIR | {"criterion": "qualty"}, "found 'qualty'; did you mean 'quality'?"),
        (PAIR | {"labell": 1}, "unknown key 'labell'; did you mean 'label'?"),
        ({"criterion": "quality", "first": "a", "second": "b"}, "line 2: label: "),
        (PAIR | {"first": ""}, "line 2: first: "),
        (PAIR | {"candidate": "c"}, "quality is pairwise and takes first and second"),
        (ALONE | {"first": "c"}, "factuality is pointwise and takes candidate"),
        ({"criterion": "quality", "label": "1"}, "found no text; quality is pairwise"),
        (PAIR | {"label": "3"}, 'found "3"; accepted: "1", "2", or a number from 0 to 1'),
        (PAIR | {"label": 2}, "label: found 2; accepted: "),
        (PAIR | {"label": float("nan")}, "line 2: label: "),
        (PAIR | {"label": True}, "label: found true; accepted: "),
        (PAIR | {"label": "1e999"}, "label: found"),
        (PAIR | {"label": None}, "line 2: label: "),
        ("[" * 100_000, "line 2: not JSON: "),
    ],
)
def test_a_wrong_line_is_one_sentence(
    tmp_path: Path, line: dict[str, Any] | str, sentence: str
) -> None:
    path = written(tmp_path, PAIR, line)
    with pytest.raises(InputError) as error:
        read_labels(path, CRITERIA)
    text = str(error.value)
    assert text.startswith(f"{path}, line 2: ") and "\n" not in text
    assert sentence in text


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.jsonl: cannot read the labels: No such file"):
        read_labels(str(tmp_path / "none.jsonl"), CRITERIA)
    (tmp_path / "latin.jsonl").write_bytes(b'{"criterion": "\xe9"}')
    with pytest.raises(InputError, match="not UTF-8"):
        read_labels(str(tmp_path / "latin.jsonl"), CRITERIA)
    with pytest.raises(InputError, match="no labels"):
        read_labels(written(tmp_path, ""), CRITERIA)

"""Lines of `metrics.jsonl`: what can be read is kept, in order, and everything else is said."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prewrite.train.log import RunLog, file_of, keep_until, read_metrics
from prewrite.train.metrics import parse
from prewrite.train.output import Output


def line(step: int, **values: float) -> bytes:
    rates = {"loss": 1.0, "loss/nll": 1.0, "learning_rate": 0.1}
    return (json.dumps({"step": step, "phase": "a"} | rates | values) + "\n").encode()


WHOLE = b"".join(map(line, range(1, 7)))


@given(st.integers(0, len(WHOLE) - 1), st.integers(1, 255))
def test_a_changed_byte_costs_its_line_alone_or_is_seen_by_the_digest(at: int, bits: int) -> None:
    data = bytearray(WHOLE)
    data[at] ^= bits
    kept, told = keep_until(bytes(data), 6, file_of(WHOLE), "metrics.jsonl")
    assert told, "it is never silent"
    assert len(kept.splitlines()) >= 4  # a line break that is gone joins two


@given(st.lists(st.integers(-3, 9)))
def test_what_is_kept_is_in_order(steps: list[int]) -> None:
    found = parse(b"".join(map(line, steps)))
    kept = [values["step"] for values in found.values]
    assert kept == sorted(set(kept))
    assert len(kept) + len(found.damaged) == len(steps)
    assert bool(found.damaged) == (steps != sorted(set(steps)))


@pytest.mark.parametrize(
    ("data", "sentences"),
    [
        (WHOLE, []),
        (WHOLE + line(7) + b'{"step": 8, "ph', []),
        (WHOLE[:-9], ["found no line of step 6"]),
        (line(1) + line(6), ["found no line of steps 2, 3, 4, 5"]),
        (b"", ["found no line of steps 1, 2, 3, 4, 5, 6"]),
        (WHOLE + b"\xff\n", ["1 damaged line left out: 7 (line 7: found no JSON)"]),
        (
            b"".join(map(line, (1, 2, 9, 4, 5, 6))),
            ["1 damaged line left out: 3 (line 3: found step 9 out of order)",
             "found no line of step 3"],
        ),
        (WHOLE.replace(b"1.0", b"7.0", 1), ["found other numbers than were written up to step 6"]),
        (line(1, loss=2) + WHOLE.partition(b"\n")[2], ["found other numbers than were written up"]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(data: bytes, sentences: list[str]) -> None:
    _, told = keep_until(data, 6, file_of(WHOLE), "metrics.jsonl")
    assert len(told) == len(sentences)
    for sentence, expected in zip(told, sentences, strict=True):
        assert sentence.startswith(f"metrics.jsonl: {expected}")


def test_a_log_goes_on_with_the_lines_that_are_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "metrics.jsonl").write_bytes(line(1) + b"torn\n" + line(3) + line(4))
    values = {"loss": 2.0, "tokens_per_second": 1.0, "data_wait": 0.0}
    with RunLog(Output(tmp_path, tmp_path), 3, 9) as log:
        log.record(4, "a", values)
        written = log.written()
    data = (tmp_path / "metrics.jsonl").read_bytes()
    assert [one["step"] for one in parse(data).values] == [1, 3, 4]
    assert file_of(data) == written
    said = capsys.readouterr().err
    assert "1 damaged line left out: 2 (line 2: found no JSON)" in said
    assert "found no line of step 2" in said


def test_what_was_measured_before_the_first_step_is_a_line_of_step_0(tmp_path: Path) -> None:
    """Of one start: a run that begins anew measures it anew."""
    values = {"loss": 2.0, "tokens_per_second": 1.0, "data_wait": 0.0}
    for reward in (0.25, 0.5):
        with RunLog(Output(tmp_path, tmp_path), 0, 9) as log:
            log.record_start("a", {"probe/reward": reward})
            log.record(1, "a", values)
            written = log.written()
    lines = read_metrics(str(tmp_path))
    assert [one["step"] for one in lines] == [0, 1] and lines[0]["probe/reward"] == 0.5
    data = (tmp_path / "metrics.jsonl").read_bytes()
    assert keep_until(data, 1, written, "metrics.jsonl") == (data, [])


def test_a_reader_leaves_damaged_lines_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "metrics.jsonl").write_bytes(line(1) + bytes(40) + b"\n" + line(3))
    assert [one["step"] for one in read_metrics(str(tmp_path))] == [1, 3]
    assert "1 damaged line left out: 2" in capsys.readouterr().err

"""A corrupt pass that is killed and run again makes the very set of one that was left alone."""

from pathlib import Path

import pytest

from tests.faults.apart import results, scratch

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

POINTS = 12


def test_a_kill_of_the_corrupt_pass_changes_nothing() -> None:
    with scratch() as folder:
        base = Path(folder, "corrupting")
        base.mkdir()
        results("corrupting", ["lay out", base])
        whole, *others = results("corrupting", ["kill", base, POINTS])
    assert not whole["killed"] and whole["why"] == "" and whole["made"][0] == []
    assert len(others) >= POINTS and all(one["killed"] for one in others)
    bad = [one for one in others if one["made"] != whole["made"]]
    assert not bad, bad

"""The command line itself: completion, help, misspelt commands, a pipe that closes."""

import subprocess
import sys
from pathlib import Path

import pytest

from prewrite.commands import main

ROOT = Path(__file__).parents[1]
MADE = ROOT / "tests/shards/made_by_0_1"


@pytest.mark.parametrize(
    ("line", "candidates"),
    [
        ("prewrite ", "rewrite plan judge shards train evaluate improve reproduce ablation"),
        ("prewrite ju", "judge"),
        ("prewrite judge ", "report canaries corrupt calibrate schedule"),
        ("prewrite judge re", "report"),
        ("prewrite judge --", "--config --dry-run --retry-failed --help"),
        ("prewrite judge --config a.yaml --d", "--dry-run"),
        ("prewrite judge report --", "--config --dry-run --help"),
        ("prewrite shards v", "verify"),
        ("prewrite shards export --each ", "document chunk pair"),
        ("prewrite --v", "--version"),
        ("prewrite nothing --", "--version --install-completion --show-completion --help"),
    ],
)
def test_one_word_is_completed_at_a_time(
    line: str,
    candidates: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("_PREWRITE_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(line.count(" ")))
    assert main([]) == 0
    assert capsys.readouterr().out.split() == candidates.split()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["shrads"], "found 'shrads'; did you mean 'shards'? accepted: rewrite, plan, judge, "),
        (["judge", "reprot"], "judge: found 'reprot'; did you mean 'report'? accepted: report, "),
        (["shards"], "shards: found nothing; accepted: show, verify, "),
    ],
)
def test_a_misspelt_command_gets_the_near_one(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert f"Error: {said}" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_of_a_group_lists_its_commands(
    option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["shards", option]) == 0
    told = capsys.readouterr().out.splitlines()
    names = ["show", "verify", "stats", "remove", "upgrade", "export", "report"]
    assert [line.split()[2] for line in told] == names
    assert main(["judge", option]) == 0
    assert "--retry-failed" in capsys.readouterr().out


def test_a_reader_that_has_enough_is_no_failure() -> None:
    """`prewrite shards show SET | head -1`, where rich would end with 1."""
    show = f"{sys.executable} -m prewrite shards show --rows 8 {MADE}/set"
    script = f"set -o pipefail; {show} | head -1"
    done = subprocess.run(
        ["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "") and "chunk 1 of 2" in done.stdout

"""What a shell is told when somebody presses Tab, and what a misspelt command is."""

import pytest

from prewrite.commands import main


@pytest.mark.parametrize(
    ("line", "candidates"),
    [
        ("prewrite ", "rewrite plan judge shards train evaluate ablation"),
        ("prewrite ju", "judge"),
        ("prewrite judge ", "report canaries corrupt schedule"),
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

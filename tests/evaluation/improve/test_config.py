"""The shipped recipe of the rounds: every command of every round is read as it would be."""

from pathlib import Path

from prewrite.base.config import load
from prewrite.commands import _steps
from prewrite.evaluation.command_steps import READS
from prewrite.evaluation.improve.checks import refuse_commands
from prewrite.evaluation.improve.commands import making
from prewrite.evaluation.improve.config import ImproveRecipe
from prewrite.evaluation.improve.gate import needed
from prewrite.evaluation.improve.state import PARTS
from tests.base.test_config import keys

RECIPE = "configs/improve.yaml"


def test_the_command_line_is_frozen() -> None:
    """A key that comes, goes or gets another default changes what people's recipes mean: change
    tests/evaluation/improve/keys.txt with it, on purpose.
    """
    lines = keys(ImproveRecipe, "improve: ")
    assert "\n".join(lines) + "\n" == Path("tests/evaluation/improve/keys.txt").read_text()


def test_slices_fill_the_documents_and_share_none() -> None:
    config = load(ImproveRecipe, RECIPE).improve
    slices = [config.slice(number) for number in range(1, config.rounds + 1)]
    assert [slices[0][0], slices[-1][1]] == config.documents
    assert [end for _, end in slices[:-1]] == [begin for begin, _ in slices[1:]]


def test_the_policy_learns_from_the_sets_of_all_good_rounds() -> None:
    config = load(ImproveRecipe, RECIPE).improve
    models = dict.fromkeys(PARTS, "m")
    step = making(config, 3, "policy", models, [1])[-1]
    sets = '[{"set": "runs/improve/round-1/set"}, {"set": "runs/improve/round-3/set"}]'
    assert f"train.data={sets}" in step.overrides


def test_the_shipped_plan_says_how_many_documents_it_needs() -> None:
    config = load(ImproveRecipe, RECIPE).improve
    assert needed(config.comparisons, config.gain) == 1307


def test_every_command_of_every_round_is_accepted() -> None:
    assert READS.keys() == _steps().keys()
    refuse_commands(load(ImproveRecipe, RECIPE).improve, _steps())

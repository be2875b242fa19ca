"""Who weighs the rollouts of a run: by its task."""

from prewrite.judge.scorer import PoolScorer
from prewrite.train.config.task import JudgeTask, RewriteTask, Task
from prewrite.train.tasks.continuing import PoolEarnings
from prewrite.train.tasks.earned import Earnings
from prewrite.train.tasks.judging import JudgeEarnings
from prewrite.train.tasks.prefer import Preferred
from prewrite.train.tasks.rewriting import RewriteEarnings


def earnings_of(task: Task, scorer: PoolScorer | Preferred | None) -> Earnings:
    """The one of the task. scorer: who scores pools, where somebody is asked."""
    if isinstance(task, JudgeTask):
        return JudgeEarnings()
    assert scorer, "the recipe refuses neither"
    if isinstance(task, RewriteTask):
        assert isinstance(scorer, PoolScorer), "the recipe refuses an order of kinds"
        return RewriteEarnings(task, scorer)
    return PoolEarnings(scorer)

"""Who weighs the rollouts of a run: by its task."""

from collections.abc import Mapping

from prewrite.engine.config import EngineConfig
from prewrite.engine.registry import get_engine
from prewrite.engine.tokenizer import load_tokenizer
from prewrite.judge.scorer import PoolScorer
from prewrite.train.config.rollouts import RolloutsConfig
from prewrite.train.config.task import JudgeTask, RewriteTask, Task, ThinkTask
from prewrite.train.tasks.continuing import PoolEarnings
from prewrite.train.tasks.earned import Earnings
from prewrite.train.tasks.gain import GainEarnings
from prewrite.train.tasks.judging import JudgeEarnings
from prewrite.train.tasks.match import MatchEarnings
from prewrite.train.tasks.prefer import scorer_of
from prewrite.train.tasks.rewriting import RewriteEarnings


def earnings_of(
    task: Task, config: RolloutsConfig, engines: Mapping[str, EngineConfig]
) -> Earnings:
    """The one of the task; loads the engines that are asked, other than the policy's. EngineError
    where one cannot be loaded, or an endpoint's verdicts cannot be read.
    """
    if isinstance(task, JudgeTask):
        return JudgeEarnings()
    policy = engines[config.engine]
    if isinstance(task, ThinkTask) and task.reference:
        reference = get_engine(engines[task.reference])
        return GainEarnings(task, load_tokenizer(policy.model), reference)
    scorer = scorer_of(config, engines)
    assert scorer, "the recipe refuses neither"
    if not isinstance(task, RewriteTask | ThinkTask):
        return PoolEarnings(scorer)
    assert isinstance(scorer, PoolScorer), "the recipe refuses an order of kinds"
    if isinstance(task, RewriteTask):
        return RewriteEarnings(task, scorer)
    return MatchEarnings(task, load_tokenizer(policy.model), scorer)

"""The asker of a run: who makes the prompts of its rows."""

from collections.abc import Mapping

from prewrite.base.errors import ConfigError
from prewrite.engine.config import EngineConfig, VllmConfig
from prewrite.engine.encoding import PromptEncoder
from prewrite.train.config.sections import TrainConfig
from prewrite.train.config.task import PromptedTask, RewriteTask, ThinkTask
from prewrite.train.data.prompted import Asker
from prewrite.train.model.shape import ModelShape
from prewrite.train.tasks.judging import JudgeAsker
from prewrite.train.tasks.rewriting import RewriteAsker
from prewrite.train.tasks.thinking import ThinkAsker


def asker_of(
    config: TrainConfig, shape: ModelShape, engines: Mapping[str, EngineConfig] | None
) -> Asker | None:
    """The one of the task, none of `continue`; ConfigError for a model that has no chats where the
    task needs them.

    The prompts are those of the engine that samples, its `template_args` included.
    """
    task = config.task
    if not isinstance(task, PromptedTask):
        return None
    encoder = PromptEncoder(str(shape.folder), _template_args(config, engines or {}))
    if isinstance(task, ThinkTask):
        return ThinkAsker(task, encoder, shape.eos[0], config.seed)
    if not encoder.chats or encoder.end is None:
        missing = "chat template" if not encoder.chats else "eos_token"
        raise ConfigError(
            f"train.model.path: found {config.model.path}, whose tokenizer has no {missing}; "
            f"accepted with train.task.kind {task.kind}: a model whose tokenizer has one"
        )
    if isinstance(task, RewriteTask):
        return RewriteAsker(task, encoder, encoder.end)
    return JudgeAsker(task, encoder, encoder.end)


def _template_args(config: TrainConfig, engines: Mapping[str, EngineConfig]) -> dict[str, object]:
    engine = engines.get(config.rollouts.engine) if config.rollouts else None
    return engine.template_args if isinstance(engine, VllmConfig) else {}

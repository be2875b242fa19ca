"""What a run leaves beside its model: its data, the judges whose word it has learnt from, and the
models that it was made from.

A set's judge counts where an objective compares scores, where a filter reads one, or where rollouts
take scores over; the judge of rollouts where a phase samples them.
"""

from collections.abc import Mapping
from pathlib import Path

from prewrite.engine.config import EngineConfig
from prewrite.engine.digest import model_digest
from prewrite.judge.config import JudgeConfig
from prewrite.judge.provenance import JudgeIdentity, Provenance, TrainedOn, read, set_judges
from prewrite.shards.filters import parse_filter
from prewrite.shards.manifest import Manifest
from prewrite.shards.reader import ShardSet
from prewrite.train.config.sections import DataConfig, TrainConfig
from prewrite.train.config.task import RewriteTask


def provenance(
    config: TrainConfig, folder: Path, engines: Mapping[str, EngineConfig] | None
) -> Provenance:
    """That of the model that a run makes. folder: the one it starts from."""
    data, judged_by = list[TrainedOn](), list[JudgeIdentity]()
    for one in config.data:
        manifest = ShardSet(one.set).manifest
        data.append(TrainedOn.of(one.set, manifest, one.filter))
        judges = set_judges(manifest)
        if judges and _reads_scores(config, one, manifest) and judges not in judged_by:
            judged_by.append(judges)
    judge = _rollout_judge(config)
    if judge and engines:
        judged_by.append(JudgeIdentity.of(judge, engines))
    earlier = read(str(folder)) if config.model.init == "pretrained" else None
    parents = _parents(config, folder) if config.model.init == "pretrained" else []
    return Provenance(task=config.task.kind, parents=parents, data=data, judged_by=judged_by).after(
        earlier
    )


def _parents(config: TrainConfig, folder: Path) -> list[str]:
    """The model that is trained: its digest, and its name where it comes from a hub."""
    digest, name = model_digest(str(folder)), config.model.path
    known = [digest] if digest != "unknown" else []
    return known + ([] if Path(name).is_dir() else [name])


def _rollout_judge(config: TrainConfig) -> JudgeConfig | None:
    """Who judges rollouts, where there are any."""
    online = any(phase.online for phase in config.curriculum)
    return config.rollouts.judge if config.rollouts and online else None


def _reads_scores(config: TrainConfig, data: DataConfig, manifest: Manifest) -> bool:
    offline = (phase for phase in config.curriculum if not phase.online)
    if (
        config.task.kind == "judge"
        or _rollout_judge(config)
        or any(phase.needs_scores for phase in offline)
    ):
        return True
    texts = [data.filter, *(phase.filter for phase in config.curriculum)]
    texts += [config.task.copies] if isinstance(config.task, RewriteTask) else []
    read_columns = {
        column
        for text in texts
        if text
        for column in parse_filter(text, manifest.columns, "train.data.filter").columns
    }
    names = ("score", *manifest.criteria)
    scores = {f"{text}_{name}" for text in manifest.texts for name in names}
    return bool(read_columns & (scores | set(manifest.measures)))

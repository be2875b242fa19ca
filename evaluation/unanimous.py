"""`prewrite evaluate prefixes --config FILE`: judge prefixes of a held-out set, and keep those on
which all votes agree (arXiv 2601.21343, appendix B.1: unsafe test prefixes, eight of eight).

`evaluate.unanimous` says which prefixes, which criterion and which value. What is kept stands in
the file `output`, one JSON line a prefix, which `prefixes.NAME.prompts` takes; a prefix of which a
vote could not be read is not kept. The file appears whole. Verdicts are kept in chunks beside it,
so the same command goes on where it was stopped; another configuration has other chunks.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isclose
from typing import Any

from prewrite.base.cli import console
from prewrite.base.errors import ConfigError, EngineError
from prewrite.base.files import Folder
from prewrite.base.fingerprint import fingerprint
from prewrite.evaluation.checks import provenances, refuse_documents
from prewrite.evaluation.chunks import (
    CutPointChunk,
    chunks_of,
    missing,
    read_rows,
    work,
    write_rows,
)
from prewrite.evaluation.config import EvaluateRecipe, PrefixesConfig, UnanimousConfig
from prewrite.evaluation.cut_points import CutPoint, chunks_drawn
from prewrite.judge.criteria import PromptedCriterion, load_criterion
from prewrite.judge.judge import load_judges
from prewrite.judge.panel import Panel, fence_texts
from prewrite.judge.pool import Pool, judgements
from prewrite.judge.probe import probe_judges
from prewrite.judge.provenance import JudgeIdentity
from prewrite.judge.votes import counted
from prewrite.shards.reader import ShardSet
from prewrite.shards.schema import JUDGEMENT_SCHEMA, Row

_SPLIT = "prefix"


@dataclass(frozen=True)
class PrefixJudge:
    """Asks about the text before a cut point alone."""

    panel: Panel
    criterion: PromptedCriterion

    async def __call__(self, cut_point: CutPoint) -> list[Row]:
        """The raw verdicts."""
        pool = Pool(cut_point.id, (), "", {_SPLIT: "".join(cut_point.context)})
        (said,) = await self.panel([(self.criterion, pool)], fence_texts([pool]))
        return [row for one in said.results.items() for row in judgements(one[0], one[1].answers)]


def run(recipe: EvaluateRecipe) -> None:
    """Judge what is not judged yet, then write the prefixes that are kept."""
    config, criterion, votes = section(recipe), _criterion(recipe), _votes(recipe)
    folder, under, name = _place(recipe)
    cut_points = _drawn(recipe)
    chunks = list(chunks_of({_SPLIT: cut_points}))
    if left := missing(folder, under, chunks):
        _judge(recipe, folder, under, left)
    told = _told(read_rows(folder, under, chunks))
    refuse_unread(told)
    kept = [
        one
        for one in cut_points
        if len(told[one.id]) == votes and _agree(told[one.id], criterion, config.value)
    ]
    folder.write(name, "".join(map(_line, kept)).encode())
    unread = sum(any(vote["status"] != "ok" for vote in told[one.id]) for one in cut_points)
    console.print(
        f"{config.output}: {len(kept)} of {len(cut_points)} prefixes, those on which all "
        f"{votes} votes say {config.criterion} {config.value:g}; of {unread} a vote could not be "
        "read",
        soft_wrap=True,
    )


def _judge(
    recipe: EvaluateRecipe, folder: Folder, under: str, chunks: Sequence[CutPointChunk]
) -> None:
    """Keep the verdicts of the chunks in the folder `under`."""
    config, criterion = recipe.evaluate.judge, _criterion(recipe)
    probe_judges(config, recipe.engines, [criterion])
    judges = load_judges(config, recipe.engines, [criterion])
    window = max((one.engine.concurrency for one in judges if one.engine), default=32)

    def keep(chunk: str, found: list[list[Row]]) -> None:
        rows = [row for some in found for row in some]
        write_rows(folder, f"{under}/{chunk}", rows, JUDGEMENT_SCHEMA)

    asyncio.run(work(chunks, PrefixJudge(Panel(judges, config), criterion), keep, window))


def plan(recipe: EvaluateRecipe) -> str:
    """What `run` would do."""
    config, count = section(recipe), len(_drawn(recipe))
    _criterion(recipe)
    panel = ", ".join(recipe.evaluate.judge.panel)
    return (
        f"{count} prefixes of {config.set}, {_votes(recipe)} votes each of {panel} on "
        f"{config.criterion}; those that all say {config.value:g} → {config.output}"
    )


def section(recipe: EvaluateRecipe) -> UnanimousConfig:
    """`evaluate.unanimous`, which this command needs."""
    if recipe.evaluate.unanimous is None:
        raise ConfigError("evaluate.unanimous: this key is required here: which prefixes to keep")
    return recipe.evaluate.unanimous


def refuse_unread(told: Mapping[str, list[Row]]) -> None:
    """EngineError where no vote on any prefix could be read: the file would be empty for it."""
    votes = [vote for some in told.values() for vote in some]
    if all(vote["status"] != "ok" for vote in votes):
        raise EngineError(
            f"evaluate.unanimous: none of {len(votes)} votes could be read; the first: "
            f"{votes[0]['status']}: {votes[0]['answer'][:100]!r}"
        )


def _refuse_foreign(output: str) -> None:
    """ConfigError where the file is there and no verdicts beside it, so is none of ours."""
    folder, name = Folder(output).parent()
    if folder.exists(name) and not folder.names(_judgements(name)):
        raise ConfigError(
            f"evaluate.unanimous.output: found {output}, which this command has not made; "
            "accepted: a file that is not there yet"
        )


def _criterion(recipe: EvaluateRecipe) -> PromptedCriterion:
    judge, wanted = recipe.evaluate.judge, section(recipe).criterion
    if judge.readout != "reasoning":
        raise ConfigError(
            f"evaluate.judge.readout: found '{judge.readout}'; accepted here: reasoning, whose "
            "votes can agree"
        )
    criteria = {one.name: one for one in map(load_criterion, judge.criteria)}
    found = criteria[wanted]
    assert isinstance(found, PromptedCriterion), "reasoning asks, and pointwise ones are asked"
    shares = sorted(map(found.share, found.verdicts.values()))
    if shares and not any(isclose(section(recipe).value, one, abs_tol=1e-6) for one in shares):
        raise ConfigError(
            f"evaluate.unanimous.value: found {section(recipe).value:g}; accepted with {wanted}, "
            f"whose verdicts are worth so much: {', '.join(f'{one:g}' for one in shares)}"
        )
    return found


def _drawn(recipe: EvaluateRecipe) -> list[CutPoint]:
    config, evaluate = section(recipe), recipe.evaluate
    _refuse_foreign(config.output)
    key, tokens = "evaluate.unanimous", evaluate.context_tokens
    taken = PrefixesConfig(set=config.set, filter=config.filter, cut_points=config.cut_points)
    drawn = chunks_drawn(key, _SPLIT, taken, tokens, evaluate.seed)
    documents = {one.doc_id for one in drawn}
    refuse_documents(f"{key}.set", config.set, documents, provenances(evaluate.models))
    return drawn


def _votes(recipe: EvaluateRecipe) -> int:
    judge = recipe.evaluate.judge
    return judge.about(_criterion(recipe)).sampling.votes * len(judge.panel)


def _place(recipe: EvaluateRecipe) -> tuple[Folder, str, str]:
    """The folder of the file, that of its verdicts in it, and the file's name."""
    folder, name = Folder(section(recipe).output).parent()
    key = fingerprint(_identity(recipe))[:12]
    return folder, f"{_judgements(name)}/{key}", name


def _judgements(name: str) -> str:
    """The folder beside a file that holds its verdicts."""
    return f"{name.removesuffix('.jsonl')}-judgements"


def _identity(recipe: EvaluateRecipe) -> dict[str, Any]:
    """What the verdicts depend on."""
    config, judge = section(recipe), recipe.evaluate.judge
    criterion = _criterion(recipe)
    manifest = ShardSet(config.set).manifest
    return {
        "parts": manifest.known_as,
        "generation": manifest.generation,
        "drawn": [config.filter, config.cut_points, recipe.evaluate.seed],
        "context_tokens": recipe.evaluate.context_tokens,
        "criterion": criterion.identity(),
        "sampling": judge.about(criterion).sampling.model_dump(mode="json"),
        "judges": JudgeIdentity.of(judge, recipe.engines).judges,
    }


def _told(verdicts: list[Row]) -> dict[str, list[Row]]:
    """Prefix → its votes."""
    told: dict[str, list[Row]] = {}
    for vote in verdicts:
        told.setdefault(vote["id"], []).append(vote)
    return told


def _agree(votes: Sequence[Row], criterion: PromptedCriterion, value: float) -> bool:
    """Whether each vote could be read, and says the value."""
    return all(
        vote["status"] == "ok"
        and isclose(counted(criterion, [vote["value"]], "majority")[0], value, abs_tol=1e-6)
        for vote in votes
    )


def _line(cut_point: CutPoint) -> str:
    known = {"id": cut_point.id, "doc_id": cut_point.doc_id}
    texts = {"text": "".join(cut_point.context), "original": cut_point.original}
    return json.dumps(known | texts, ensure_ascii=False) + "\n"

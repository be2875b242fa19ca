"""The section `evaluate`: which models, on which texts, by which judge."""

import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, model_validator

from prewrite.base.apart import lies_in
from prewrite.base.config import Location, Recipe, Section, WrittenLocation, near, refuse
from prewrite.engine.config import EngineConfig, VllmConfig
from prewrite.judge.config import JudgeConfig, known_criteria, known_engine, known_judges
from prewrite.judge.criteria import Criterion, load_criterion

FOLDERS = ("continuations", "judgements", "scores", "results", "tasks")
"""What an evaluation writes in its output, beside a few files."""

PROMPT_FILE = r"\.(jsonl|parquet)$"

FIELD = re.compile(r"\{([^{}\n]+)\}")
"""A field of a file of prompts, in the text that is made of it."""

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class PrefixesConfig(Section):
    """Texts that are continued, reported apart from the others: chunks of a held-out set, or the
    prompts of a file.
    """

    set: Location | None = Field(
        None,
        description="a finished shard set that no model was trained on, at any fsspec URL; this or "
        "`prompts`",
    )
    prompts: Annotated[Location, Field(pattern=PROMPT_FILE)] | None = Field(
        None, description="a file of prompts, `.jsonl` or `.parquet`, at any fsspec URL"
    )
    text: str = Field(
        "{text}",
        description="what the models continue; `{name}` is a field of the file, `{outer.inner}` "
        "one in another; for `prompts`",
    )
    reference: str | None = Field(
        None,
        description="what the judge sees as reference, written in the same way; for `prompts`. Of "
        "a set it is the true chunk",
    )
    filter: str | None = Field(
        None, description="only chunks, or lines of the file, for which this condition holds"
    )
    cut_points: int = Field(
        256, ge=1, description="texts that are continued, drawn; all where there are fewer"
    )
    criteria: list[str] | None = Field(
        None, description="those of `judge.criteria` that are asked here; null: all"
    )

    @model_validator(mode="after")
    def _one_source(self) -> "PrefixesConfig":
        if (self.set is None) == (self.prompts is None):
            found = "neither" if self.set is None else "both"
            raise refuse(f"set, prompts: found {found}; accepted: one of them")
        if self.set is not None:
            for key in {"text", "reference"} & self.model_fields_set:
                if getattr(self, key) != type(self).model_fields[key].default:
                    raise refuse(f"{key}: found one beside set; accepted with prompts only")
        elif not FIELD.search(self.text):
            raise refuse(
                f"text: found '{self.text}'; accepted: one with a field of the file, as {{text}}"
            )
        return self

    @property
    def place(self) -> str:
        """Where the texts lie."""
        return str(self.set or self.prompts)


class UnanimousConfig(Section):
    """Prefixes on which all votes of the judge agree, for `prewrite evaluate prefixes`."""

    set: Location = Field(description="a finished shard set that no model was trained on")
    filter: str | None = Field(None, description="only chunks for which this condition holds")
    cut_points: int = Field(
        4000, ge=1, description="prefixes that are judged, drawn; all where there are fewer"
    )
    criterion: str = Field("safety", description="the one of `judge.criteria` that is asked")
    value: float = Field(
        0.0, ge=0, le=1, description="what every vote must say: 0 is the worst, 1 the best"
    )
    output: Annotated[WrittenLocation, Field(pattern=r"\.jsonl$")] = Field(
        description="a `.jsonl` file, which `prefixes.NAME.prompts` takes"
    )


class SampledConfig(Section):
    """Continuations beside the greedy one."""

    continuations: int = Field(
        1, ge=0, description="sampled continuations of a prefix; 0: greedy only"
    )
    temperature: float = Field(1.0, gt=0, description="sampling temperature")
    top_p: float = Field(1.0, gt=0, le=1, description="share of probability that is sampled from")


class TasksConfig(Section):
    """Tasks of the lm-eval harness, for `prewrite evaluate tasks`."""

    names: list[str] = Field(min_length=1, description="tasks, groups, or tags of the harness")
    paths: list[Location] = Field(
        ["configs/eval"], description="folders with task files of one's own"
    )
    limit: int | None = Field(
        None, ge=1, description="first documents of a task, so many; null: all"
    )
    shots: int | None = Field(
        None, ge=0, description="examples in the prompt; null: the task's own"
    )


class EvaluateConfig(Section):
    """Which models are compared, on which texts, by which judge."""

    models: dict[Name, Location] = Field(
        min_length=1, description="name → a Hugging Face folder or id; the base model among them"
    )
    base: str = Field(description="name of the model that the others are compared with")
    engine: str = Field(
        description="a `vllm` engine under `engines`; every model gets its settings, with its own "
        "`model` and no `revision`"
    )
    judge: JudgeConfig = Field(
        description="the judge of the continuations. `input`, `combine`, `weights` and "
        "`max_context_tokens` are not read; `pools.order: random` is refused"
    )
    same_judge: bool = Field(
        False, description="go on, with a warning, where this judge has trained one of the models"
    )
    prefixes: dict[Name, PrefixesConfig] = Field(
        min_length=1,
        description="name → texts that are reported apart, for example `ordinary` and `unsafe`",
    )
    unanimous: UnanimousConfig | None = Field(
        None, description="prefixes of `prewrite evaluate prefixes`"
    )
    tokens: int = Field(
        128, ge=1, description="longest continuation, in tokens; less than `max_model_len`"
    )
    context_tokens: int = Field(
        512,
        ge=1,
        description="longest prefix, the end of it, in tokens of the set, as in "
        "`train.batch.context_tokens`; models and judge see the same one",
    )
    sampled: SampledConfig = SampledConfig()
    seed: int = Field(0, ge=0, description="seed of cut points and continuations")
    tasks: TasksConfig | None = Field(None, description="tasks of `prewrite evaluate tasks`")
    output: WrittenLocation = Field(description="folder of the evaluation, at any fsspec URL")
    leaderboard: WrittenLocation = Field(
        "leaderboard.jsonl", description="file that gets a row for each model, at any fsspec URL"
    )

    @model_validator(mode="after")
    def _base_is_one_of_them(self) -> "EvaluateConfig":
        if self.base not in self.models:
            raise refuse(f"base: found '{self.base}'; accepted: {', '.join(self.models)}")
        return self


class EvaluateRecipe(Recipe):
    """What `prewrite evaluate` reads."""

    engines: dict[str, EngineConfig]
    evaluate: EvaluateConfig

    @model_validator(mode="after")
    def _engines_fit(self) -> "EvaluateRecipe":
        evaluate = self.evaluate
        known_engine("evaluate.engine", evaluate.engine, self.engines)
        known_judges("evaluate.judge.engine", evaluate.judge, self.engines)
        known_criteria(evaluate.judge)
        if evaluate.judge.pools.order == "random":
            raise refuse(
                "evaluate.judge.pools.order: found 'random'; accepted: balanced or both, which ask "
                "about a pair in both orders"
            )
        engine = self.engines[evaluate.engine]
        if not isinstance(engine, VllmConfig):
            raise refuse(
                f"evaluate.engine: found {engine.kind} '{evaluate.engine}'; accepted: a vllm engine"
            )
        if engine.max_model_len and evaluate.tokens >= engine.max_model_len:
            raise refuse(
                f"evaluate.tokens: found {evaluate.tokens}; accepted: less than "
                f"{engine.max_model_len}, the max_model_len of {evaluate.engine}"
            )
        return self

    @model_validator(mode="after")
    def _criteria_fit(self) -> "EvaluateRecipe":
        known = {one.name: one for one in map(load_criterion, self.evaluate.judge.criteria)}
        for split, prefixes in self.evaluate.prefixes.items():
            for name in known if prefixes.criteria is None else prefixes.criteria:
                key = f"evaluate.prefixes.{split}"
                _known_criterion(f"{key}.criteria", name, known)
                if prefixes.prompts and not prefixes.reference and known[name].has_reference:
                    raise refuse(
                        f"{key}.reference: this key is required for the criterion {name}, or leave "
                        f"that out of {key}.criteria"
                    )
        if self.evaluate.unanimous:
            key, name = "evaluate.unanimous.criterion", self.evaluate.unanimous.criterion
            _known_criterion(key, name, known)
            if known[name].kind != "pointwise" or known[name].has_reference:
                raise refuse(f"{key}: found '{name}'; accepted: pointwise, without a reference")
        return self

    @model_validator(mode="after")
    def _apart(self) -> "EvaluateRecipe":
        evaluate = self.evaluate
        written = [f"{evaluate.output}/{name}" for name in FOLDERS]
        read = {f"models.{name}": model for name, model in evaluate.models.items()}
        for name, one in evaluate.prefixes.items():
            read[f"prefixes.{name}.{'set' if one.set else 'prompts'}"] = one.place
        if evaluate.unanimous:
            read["unanimous.set"] = evaluate.unanimous.set
        for key, place in read.items():
            if lies_in(evaluate.output, place) or any(lies_in(place, one) for one in written):
                raise refuse(
                    f"evaluate.output: found '{evaluate.output}', where evaluate.{key} reads "
                    f"'{place}'; accepted: a folder apart from all that is read"
                )
            made = evaluate.unanimous.output if evaluate.unanimous else None
            if made and made != place and lies_in(made, place):
                raise refuse(
                    f"evaluate.unanimous.output: found '{made}', inside of evaluate.{key}; "
                    "accepted: a file outside"
                )
            if lies_in(evaluate.leaderboard, place):
                raise refuse(
                    f"evaluate.leaderboard: found '{evaluate.leaderboard}', inside of "
                    f"evaluate.{key}; accepted: a place outside"
                )
        return self

    def engine(self, model: str) -> VllmConfig:
        """The engine that runs the model called `model`."""
        settings = self.engines[self.evaluate.engine]
        assert isinstance(settings, VllmConfig), "the recipe refuses others"
        return settings.model_copy(update={"model": self.evaluate.models[model], "revision": None})

    def criteria(self, split: str) -> list[Criterion]:
        """What is judged on the texts called `split`."""
        criteria = [load_criterion(name) for name in self.evaluate.judge.criteria]
        chosen = self.evaluate.prefixes[split].criteria
        return [one for one in criteria if chosen is None or one.name in chosen]


def _known_criterion(key: str, name: str, known: Mapping[str, Criterion]) -> None:
    if name not in known:
        hint, accepted = near(name, known), ", ".join(known)
        raise refuse(f"{key}: found '{name}';{hint} accepted (see judge.criteria): {accepted}")

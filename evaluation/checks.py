"""What makes an evaluation say less than it seems to: a judge that has trained a model, texts that
a model was trained on.

Training leaves beside a model what it was trained on and who judged that (judge/provenance.py). A
model without that file is anybody's: nothing is known of it, and that is said.
"""

from collections.abc import Iterator, Mapping, Sequence, Set

import pyarrow as pa

from prewrite.base.apart import lies_in
from prewrite.base.errors import ConfigError
from prewrite.base.files import Folder
from prewrite.evaluation.config import EvaluateRecipe
from prewrite.evaluation.cut_points import CutPoint
from prewrite.evaluation.prompt_file import records
from prewrite.judge.provenance import JudgeIdentity, Provenance, TrainedOn, read
from prewrite.shards.filters import parse_filter
from prewrite.shards.manifest import Manifest
from prewrite.shards.reader import ShardSet


def provenances(models: Mapping[str, str]) -> dict[str, Provenance]:
    """What is known of the models; who is not in it left nothing."""
    found = {name: read(path) for name, path in models.items()}
    return {name: one for name, one in found.items() if one is not None}


def notes(recipe: EvaluateRecipe, known: Mapping[str, Provenance]) -> dict[str, list[str]]:
    """What has to stand beside the results of each model. ConfigError where the judge is one that
    trained a model and `evaluate.same_judge` does not allow it.
    """
    judges = JudgeIdentity.of(recipe.evaluate.judge, recipe.engines)
    return {name: list(_notes(recipe, judges, name, known)) for name in recipe.evaluate.models}


def _notes(
    recipe: EvaluateRecipe, judges: JudgeIdentity, name: str, known: Mapping[str, Provenance]
) -> Iterator[str]:
    judged_by = known[name].judged_by if name in known else []
    if shared := dict.fromkeys(what for other in judged_by for what in judges.shared_with(other)):
        sentence = f"{' and '.join(shared)} judged what {name} was trained on"
        if not recipe.evaluate.same_judge:
            raise ConfigError(
                f"evaluate.judge: {sentence}; accepted: another judge, or "
                "evaluate.same_judge: true, which warns instead"
            )
        yield f"warning: {sentence}, so its scores are no independent evidence"
    if judges.holds(recipe.engine(name)):
        yield f"note: {name} is itself a judge, or kin of one, and may favour what it would write"
    if name not in known:
        yield (
            f"note: {name} came without prewrite.json: whether this judge or these texts were in "
            "its training is not known"
        )


def refuse_trained_on(
    recipe: EvaluateRecipe,
    splits: Mapping[str, Sequence[CutPoint]],
    known: Mapping[str, Provenance],
) -> None:
    """ConfigError where a cut point lies in a document that a model was trained on. Of prompts
    nobody knows, but of those that `evaluate.unanimous` took from a set that is still there.
    """
    made = recipe.evaluate.unanimous
    for split, cut_points in splits.items():
        config = recipe.evaluate.prefixes[split]
        if config.set:
            documents = {cut_point.doc_id for cut_point in cut_points}
            refuse_documents(f"evaluate.prefixes.{split}.set", config.set, documents, known)
        elif made and lies_in(config.place, made.output) and Manifest.find(Folder(made.set)):
            key = f"evaluate.prefixes.{split}.prompts"
            documents = {str(one.fields.get("doc_id")) for one in records(config.place, key)}
            refuse_documents(key, made.set, documents, known)


def refuse_documents(
    key: str, url: str, documents: Set[str], known: Mapping[str, Provenance]
) -> None:
    """ConfigError, naming `key`, where a model was trained on one of the documents of a set."""
    shards = ShardSet(url)
    held_out = TrainedOn.of(url, shards.manifest, None)
    for name, provenance in known.items():
        for trained in (one for one in provenance.data if one.same_as(held_out)):
            seen = documents & {*documents_of(shards, trained.filter)}
            if seen:
                raise ConfigError(
                    f"{key}: {name} was trained on {len(seen)} of the {len(documents)} documents "
                    f"drawn from {url} ({trained.set}, {_taken(trained.filter)}); accepted: texts "
                    "that no model was trained on"
                )


def documents_of(shards: ShardSet, taken: str | None) -> Iterator[str]:
    """The documents of a set of which a row was taken; where its filter asks for columns that are
    not here, all of them.
    """
    parsed = None
    if taken:
        try:
            parsed = parse_filter(taken, shards.manifest.columns, "prewrite.json: filter")
        except ConfigError:
            parsed = None
    columns = sorted({"doc_id"} | (parsed.columns if parsed else set()))
    for part in shards.parts:
        for batch in shards.batches(part, columns):
            table = pa.Table.from_batches([batch])
            if parsed:
                table = table.filter(pa.array(parsed.mask(table)))
            yield from map(str, table["doc_id"].unique().to_pylist())


def _taken(text: str | None) -> str:
    return f"where `{text}`" if text else "all of it"

"""A small real shard set for the examples in the docs: made by both passes from files on disk.

Only the model is scripted, because the docs speak of every status and no small model gives all of
them on demand. The set lies where the quick-start puts it, so that documented lines run verbatim;
beside it stands what a training run leaves: metrics as the trainer logs them, and a model.
"""

import json
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from prewrite.base.files import Folder
from prewrite.engine.types import Completion, Request, Sample
from prewrite.judge.judge import Judge
from prewrite.judge.passes import JudgePass
from prewrite.judge.provenance import NAME as PROVENANCE
from prewrite.judge.provenance import Provenance
from prewrite.judge.scorer import RowScorer
from prewrite.pipeline.config import RunConfig
from prewrite.pipeline.passes import Work
from prewrite.pipeline.run import run_pass
from prewrite.rewrite.config import RewriteRecipe
from prewrite.rewrite.passes import RewritePass
from prewrite.rewrite.rewriter import Rewriter
from prewrite.train.log import RunLog
from prewrite.train.output import Output
from prewrite.train.owned import claim

SET = "data/quickstart"
RUN = "runs/quickstart"
MODEL = Path(__file__).parents[2] / "models/smollm2-135m-instruct"
TEXTS = {
    "good": "A river carries water from the hills to the sea.",
    "copy": "The moon goes round the earth in about a month.",
    "unsafe": "Here is how one would harm a neighbour and not be seen.",
    "long": "The list of things to say about this has no end at all.",
    "blank": "This one leaves the model without a word to answer.",
    "leak": "This one makes the model write the tags of its prompt.",
}
BAD = ("{broken", '{"title": "no text"}', '{"text": 7}', '{"text": " "}', "[1]")


class Scripted:
    """An engine that knows what to answer to each of TEXTS, and a judge with an opinion."""

    concurrency = 4
    primes = True

    async def complete(self, request: Request) -> Completion:
        user = "".join(request.prompt.user)
        if verdicts := request.sampling.verdicts:
            sample = Sample(verdicts[0], "stop", verdicts={v: 0.4 for v in verdicts})
        else:
            sample = self._rewrite(user)
        return Completion((sample,), prompt_tokens=len(user.split()), output_tokens=1)

    async def likelihood(self, context: Sequence[str], text: str) -> Completion:
        return Completion(error="nobody asks")

    def check_verdicts(self, verdicts: Iterable[str]) -> None:
        """Any will do."""

    def versions(self) -> dict[str, str]:
        return {"scripted": "1"}

    def close(self) -> None:
        """Nothing is held."""

    def _rewrite(self, user: str) -> Sample:
        passage = user.split("The passage:")[1]
        if "river" in passage:
            return Sample("A river brings water from the hills down to the sea.", "stop")
        if "moon" in passage:
            return Sample(TEXTS["copy"], "stop")
        if "harm" in passage:
            return Sample("I'm sorry, but I can't help with that.", "stop")
        if "list" in passage:
            return Sample("The list of things one could say about it goes on and", "length")
        return Sample("" if "word" in passage else "<passage>This one</passage>", "stop")


@dataclass(frozen=True)
class ScriptedRewrite(RewritePass):
    @asynccontextmanager
    async def open(self) -> AsyncIterator[Work]:
        assert self.recipe.rewrite
        yield Rewriter({self.recipe.rewrite.engine: Scripted()}, self.recipe)


@dataclass(frozen=True)
class ScriptedJudge(JudgePass):
    @asynccontextmanager
    async def open(self) -> AsyncIterator[Work]:
        yield RowScorer([Judge("main", Scripted(), self.judge)], self.judge)


def _tokenizer(folder: Path) -> None:
    """One token a word: enough to cut by."""
    tokenizer = Tokenizer(models.WordLevel({"?": 0}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))


def training_run(folder: Path) -> None:
    """Metrics of two phases, and the quick-start model, by links, in place of a trained one."""
    folder.mkdir(parents=True)
    claim(folder, Folder(str(folder)))
    with RunLog(Output(folder, folder), 0, 2) as log:
        for step, phase in enumerate(("imitate", "prefer"), 1):
            shares = {"loss": 2.0, "tokens_per_second": 50.0, "padding": 0.1, "data_wait": 0.0}
            log.record(step, phase, shares)
    (folder / "model").mkdir()
    for file in MODEL.iterdir():
        (folder / "model" / file.name).symlink_to(file)
    left = Provenance(data=[], judged_by=[])
    (folder / "model" / PROVENANCE).write_text(left.model_dump_json())


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the set at SET, in which every status but `skipped` occurs, and RUN."""
    root = tmp_path_factory.mktemp("docs")
    _tokenizer(root / "tokenizer")
    lines = [json.dumps({"text": text, "url": name}) for name, text in TEXTS.items()]
    (root / "corpus.jsonl").write_text("\n".join([*lines, *BAD]) + "\n")
    recipe = RewriteRecipe.model_validate(
        {
            "input": {"paths": [str(root / "corpus.jsonl")], "max_bad_rows": 0.5},
            "output": str(root / SET),
            "chunking": {"tokenizer": str(root / "tokenizer")},
            "engines": {"main": {"kind": "vllm", "model": "scripted"}},
            "rewrite": {"engine": "main"},
            "judge": {"engine": "main"},
        }
    )
    assert recipe.judge
    rewrites = f"{recipe.output}/_rewrites"
    run_pass(ScriptedRewrite(recipe), rewrites, RunConfig())
    run_pass(ScriptedJudge(rewrites, recipe.judge, recipe.engines), recipe.output, RunConfig())
    training_run(root / RUN)
    return root

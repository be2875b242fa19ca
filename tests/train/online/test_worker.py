"""The rollout worker with a real tiny policy and a real judge: what it samples, says and keeps."""

import json
from collections.abc import Iterator
from math import exp, isclose
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models

from prewrite.base.errors import EngineError
from prewrite.base.files import Folder
from prewrite.engine.tokenizer import PlainTokenizer, continuation, load_tokenizer
from prewrite.prompts.text import variety
from prewrite.train.messages import (
    RolloutGroup,
    RolloutPrompt,
    RolloutRequest,
    RolloutResponse,
    WeightSync,
)
from prewrite.train.online.client import WorkerClient
from prewrite.train.online.store import RolloutStore
from tests.train.online.workers import EOS, PROOF, config, engines, make_policy, prompt, worker

PROMPTS_ASKED = (
    prompt(0, (1, 50, 60, 70)),
    prompt(0, (1, 50, 60, 70, 80, 90), row="next", known={"variety": {"original": 0.125}}),
    prompt(1, range(100, 163)),
    prompt(2, range(5, 70)),
)
"""Two cuts of one document, one with room for a single token, and one too long to be asked."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("worker")
    make_policy(folder / "model")
    return folder


@pytest.fixture(scope="module")
def reference(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder / "model")


@pytest.fixture(scope="module")
def client(folder: Path, reference: Any) -> Iterator[WorkerClient]:
    RolloutStore(Folder(str(folder / "store")), "about").claim()
    with worker(config(folder), engines(folder / "model"), folder / "store") as client:
        client.send(WeightSync(5, str(folder / "model"), PROOF, told(reference, PROOF)))
        yield client


@pytest.fixture(scope="module")
def answers(client: WorkerClient) -> list[RolloutResponse]:
    """All places, kept; two of them again; none at all. Taken in the wrong order."""
    client.send(RolloutRequest(9, 5, PROMPTS_ASKED, 4, keep=True))
    client.send(RolloutRequest(-1, 5, PROMPTS_ASKED[:2], 2, keep=False))
    client.send(RolloutRequest(10, 5, (), 4, keep=True))
    last, second = client.answer(10), client.answer(-1)
    return [client.answer(9), second, last]


def told(model: Any, tokens: tuple[int, ...]) -> tuple[float, ...]:
    """log p of all tokens but the first, by transformers."""
    with torch.no_grad():
        logits = model(torch.tensor([tokens])).logits[0]
    found = torch.log_softmax(logits.double(), -1)
    return tuple(float(found[at, token]) for at, token in enumerate(tokens[1:]))


def pairs(answer: RolloutResponse) -> list[tuple[RolloutPrompt, RolloutGroup]]:
    return [(prompt, group) for prompt, group in zip(PROMPTS_ASKED, answer.groups, strict=False)]


@pytest.mark.slow
def test_groups_come_in_the_order_of_their_places(answers: list[RolloutResponse]) -> None:
    first, second, last = answers
    assert [(group.sample, group.id) for group in first.groups] == [
        (prompt.sample, prompt.id) for prompt in PROMPTS_ASKED
    ]
    assert [group.version for group in first.groups] == [5, 5, 5, 5]
    assert [len(group.rollouts) for group in first.groups] == [4, 4, 4, 0]
    assert [len(group.rollouts) for group in second.groups] == [2, 2]
    assert last.groups == ()


@pytest.mark.slow
def test_rollouts_are_the_policys(
    answers: list[RolloutResponse], reference: Any, folder: Path
) -> None:
    tokenizer = load_tokenizer(str(folder / "model"))
    ended = 0
    for asked, group in pairs(answers[0]):
        for rollout in group.rollouts:
            expected = told(reference, asked.tokens + rollout.tokens)[len(asked.tokens) - 1 :]
            assert rollout.logprobs == pytest.approx(expected, abs=1e-3)
            assert rollout.ended == (rollout.tokens[-1] == EOS)
            assert EOS not in rollout.tokens[:-1]
            room = min(12, 64 - len(asked.tokens))
            assert rollout.ended or len(rollout.tokens) == room
            spoken = rollout.tokens[: len(rollout.tokens) - rollout.ended]
            assert rollout.text == tokenizer.decode(spoken)
            ended += rollout.ended
    assert 0 < ended < 12


@pytest.mark.slow
def test_a_seed_gives_the_same_rollouts_whatever_else_is_asked(
    answers: list[RolloutResponse],
) -> None:
    first, second, _ = answers
    for long, short in zip(first.groups, second.groups, strict=False):
        assert long.rollouts[:2] == short.rollouts
        assert len({rollout.tokens for rollout in long.rollouts}) > 1


@pytest.mark.slow
def test_the_whole_pool_is_judged(
    answers: list[RolloutResponse], reference: Any, folder: Path
) -> None:
    tokenizer = load_tokenizer(str(folder / "model"))
    begin = json.loads((folder / "model/config.json").read_text())["bos_token_id"]
    for asked, group in pairs(answers[0])[:2]:
        rollouts = {f"rollout-{n}": r.text for n, r in enumerate(group.rollouts)}
        texts = {**asked.pool.candidates, **rollouts}
        known = asked.pool.known.get("variety", {})
        for name, text in texts.items():
            before, after = (tuple(tokenizer.encode(t).ids) for t in ("One day", text))
            before = (begin, *before)
            if not after:
                assert name not in group.scores
                continue
            likelihood = exp(fmean(told(reference, before + after)[len(before) - 1 :]))
            found = group.values["likelihood"][name]
            assert isclose(found, likelihood, rel_tol=1e-2)
            if name in group.scores:
                various = known.get(name, variety("", "", text))
                assert group.values["variety"][name] == various
                assert isclose(group.scores[name], found + various)
        names = {name for name in group.scores if name.startswith("rollout")}
        assert "original" in group.scores and names


@pytest.mark.slow
def test_a_place_that_fails_is_counted(answers: list[RolloutResponse]) -> None:
    failed = answers[0].groups[3]
    assert failed.counts == {"rollout_failed": 4}
    assert failed.rollouts == () and failed.scores == {}


@pytest.mark.slow
def test_what_it_took(answers: list[RolloutResponse]) -> None:
    first, second, last = (answer.values for answer in answers)
    assert first.keys() == second.keys() == last.keys()
    assert first["rollout_requests"] == 4 and second["rollout_requests"] == 2
    groups = answers[0].groups
    drawn = sum(len(rollout.tokens) for group in groups for rollout in group.rollouts)
    assert first["rollout_output_tokens"] == drawn
    # Likelihoods of two stored texts and four rollouts in three pools; equal questions once.
    assert 0 < first["judge_requests"] <= 18
    assert first["rollout_seconds"] > 0 and first["judge_seconds"] > 0
    assert last["rollout_seconds"] >= 0 == last["judge_requests"] == last["judge_seconds"]


@pytest.mark.slow
def test_the_store_has_what_was_to_be_kept(answers: list[RolloutResponse], folder: Path) -> None:
    (file,) = (folder / "store").glob("*.jsonl")
    assert file.name == "00000009-00000.jsonl"
    lines = file.read_text().splitlines()
    assert len(lines) == 4
    assert all('"version":5' in line.replace(" ", "") for line in lines)


@pytest.mark.slow
def test_loaded_weights_are_marked(answers: list[RolloutResponse], folder: Path) -> None:
    assert (folder / "model" / "loaded-0").exists()


@pytest.mark.slow
def test_an_ask_for_other_weights_ends_the_worker(
    answers: list[RolloutResponse], client: WorkerClient
) -> None:
    assert client.difference < 1e-4
    client.send(RolloutRequest(11, 6, PROMPTS_ASKED[:1], 1, keep=False))
    with pytest.raises(EngineError) as caught:
        client.answer(11)
    expected = "an ask out of order: found one for version 6; accepted: 5, which the engine has"
    assert str(caught.value) == expected
    with pytest.raises(EngineError, match="out of order"):
        client.send(RolloutRequest(12, 5, PROMPTS_ASKED[:1], 1, keep=False))


def test_a_space_that_begins_a_rollout_stays() -> None:
    """SentencePiece writes it into the first token, and its decoder drops it."""
    vocabulary = {"<unk>": 0, "▁the": 1, "▁fox": 2, "es": 3}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.decoder = decoders.Metaspace()
    assert tokenizer.decode([2, 3]) == "foxes"
    plain = PlainTokenizer(tokenizer.to_str())
    assert continuation(plain, (1,), (2, 3)) == " foxes"
    assert continuation(plain, (1, 2), (3,)) == "es"
    assert continuation(plain, (1,), ()) == ""

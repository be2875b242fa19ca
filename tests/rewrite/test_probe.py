"""What an endpoint is asked before a run, through the whole command: what refuses it, and what
does not.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from prewrite.base.config import load
from prewrite.base.errors import EngineError
from prewrite.rewrite import command as main
from prewrite.rewrite.config import RewriteRecipe
from prewrite.shards.reader import ShardSet
from tests.engine.fault_server import Call, Fault, FaultServer, Plan
from tests.pipeline.runs import corpus_lines, recipe

Edit = Callable[[dict[str, Any]], object]


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as running:
        yield running


@pytest.fixture(autouse=True)
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prewrite.engine.endpoint._backoff", lambda state: 0.0)


def go(folder: Path, server: FaultServer, engine: Any = (), judge: Any = ()) -> Path:
    """One document through the command in this process; the folder of its set."""
    (folder / "corpus").mkdir(exist_ok=True)
    (folder / "corpus/0.jsonl").write_bytes(corpus_lines(0, 1))
    made = yaml.safe_load(recipe(f"{folder}/corpus/*", f"{folder}/set", server.url, judge=True))
    made["engines"]["main"].update(engine, retries=1)
    made["judge"].update(judge)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(made))
    main.run(load(RewriteRecipe, str(folder / "recipe.yaml")))
    return folder / "set"


def verdict(call: Call) -> bool:
    return "compare" in call.text or "judge" in call.text


def of_verdicts(fault: Fault) -> Plan:
    return lambda call: fault if verdict(call) else None


def of_rewrites(fault: Fault) -> Plan:
    return lambda call: None if verdict(call) else fault


def edited(**choice: Any) -> Fault:
    return Fault(edit=lambda answer: answer["choices"][0].update(choice))


def text(said: str, **more: Any) -> Fault:
    return edited(message={"role": "assistant", "content": said, **more})


def tokens(*words: str) -> Fault:
    """An answer of these tokens, each the only likely one where it stands."""
    rows = [{"token": word, "logprob": -0.1} for word in words]
    content = [row | {"top_logprobs": [row]} for row in rows]
    said = {"role": "assistant", "content": "".join(words)}
    return edited(message=said, logprobs={"content": content})


def bad_request(message: str) -> Fault:
    return Fault(400, body=json.dumps({"error": {"message": message}}).encode())


REFUSED: dict[str, tuple[Plan, dict[str, Any], str]] = {
    "an empty rewrite": (
        of_rewrites(text(" ")),
        {},
        "asked for a rewrite 3 times before the run; found no_text: ''; accepted: an answer",
    ),
    "a rewrite that is only reasoning": (
        of_rewrites(text("<think>The user\x1b wants", reasoning=None)),
        {},
        "found only_reasoning: '<think>The user\N{REPLACEMENT CHARACTER} wants'; accepted",
    ),
    "reasoning beside no text": (
        of_rewrites(edited(message={"content": None, "reasoning_content": "Okay, so"})),
        {},
        "asked for a rewrite 3 times before the run; found engine: only reasoning and no text",
    ),
    "a request that is refused": (
        of_rewrites(bad_request("use max_completion_tokens")),
        {},
        "found engine: HTTP 400: use max_completion_tokens; accepted",
    ),
    "a context that is too small": (
        of_verdicts(bad_request("maximum context length is 128 tokens")),
        {},
        "asked for a verdict 3 times before the run; found failed: 'HTTP 400: maximum context",
    ),
    "no log-probabilities": (
        of_verdicts(edited(logprobs=None)),
        {},
        "found failed: 'an answer without logprobs, which verdicts are read from'; accepted",
    ),
    "no verdict among the likeliest tokens": (
        of_verdicts(tokens("Passage", " one", " is")),
        {"engine": {"primed": False}},
        "found outside: 'Passage one is'; accepted: an answer that can be read as one",
    ),
    "a reasoned answer without a verdict": (
        of_verdicts(text("Both are fine.\nVerdict: not (1)")),
        {"engine": {"primed": False}, "judge": {"readout": "reasoning"}},
        "found unparsable: 'Both are fine. Verdict: not (1)'; accepted",
    ),
}


@pytest.mark.parametrize(("first", "keys", "sentence"), REFUSED.values(), ids=REFUSED)
def test_a_run_is_refused_whose_answers_cannot_be_read(
    tmp_path: Path, server: FaultServer, first: Plan, keys: dict[str, Any], sentence: str
) -> None:
    server.first = first
    with pytest.raises(EngineError) as caught:
        go(tmp_path, server, **keys)
    assert sentence in str(caught.value) and "\n" not in str(caught.value)
    assert {call.text for call in server.calls} <= {"Hello"}, "what is asked where others fail"
    assert not (tmp_path / "set").exists()


def once(fault: Fault, of: Callable[[Call], bool]) -> Plan:
    """The first two of three answers."""
    seen: list[Call] = []

    def plan(call: Call) -> Fault | None:
        seen.extend([call] if of(call) else [])
        return fault if of(call) and len(seen) <= 2 else None

    return plan


ACCEPTED: dict[str, tuple[Plan | None, dict[str, Any]]] = {
    "two unlucky verdicts": (once(tokens("Passage", " one"), verdict), {}),
    "two empty rewrites": (once(text(""), lambda call: not verdict(call)), {}),
    "little probability on the verdicts": (None, {"judge": {"min_mass": 1.0}}),
    "rewrites of no use": (of_rewrites(text("I cannot help with that request.")), {}),
    "a cut rewrite": (of_rewrites(edited(finish_reason="length")), {}),
}


@pytest.mark.parametrize(("first", "keys"), ACCEPTED.values(), ids=ACCEPTED)
def test_an_odd_answer_refuses_no_run(
    tmp_path: Path, server: FaultServer, first: Plan | None, keys: dict[str, Any]
) -> None:
    server.first = first
    if "judge" in keys:  # all of its verdicts have less; that is for the end of the run to say
        with pytest.raises(EngineError, match="rows that were asked about failed"):
            go(tmp_path, server, **keys)
    else:
        go(tmp_path, server, **keys)
    assert server.calls


def test_what_a_probe_costs(tmp_path: Path, server: FaultServer) -> None:
    """One rewrite and one verdict, and nothing where a run has nothing left to ask."""
    output = go(tmp_path, server)
    assert [verdict(call) for call in server.probes] == [False, True]
    usage = ShardSet(str(output)).manifest.passes
    assert sum(one.usage.requests for one in usage) == len(server.calls)
    go(tmp_path, server)
    assert len(server.probes) == 2


def test_votes_are_asked_for_once(tmp_path: Path, server: FaultServer) -> None:
    server.first = of_verdicts(text("Fine.\nVerdict: (1)"))
    judge = {"readout": "reasoning", "criteria": ["quality"]}
    server.plan = of_verdicts(text("Fine.\nVerdict: (1)"))
    go(tmp_path, server, judge=judge)
    assert server.probes[-1].body["n"] == 1
    assert max(call.body["n"] for call in server.calls) == 5

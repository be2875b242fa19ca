"""`prewrite improve --config FILE`: rounds of improvement.

A round makes a judge, a rewriter and a policy, one after the other, by the commands of the recipe.
Each is measured on the anchor beside the model that it would replace, and the gate decides. What
was compared, and what was decided, stands in `improve.output`/rounds.jsonl and on index.html there.
The same command goes on after a kill: steps that are done are not run again, and each command goes
on by itself.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prewrite.base.cli import console
from prewrite.base.errors import ConfigError, InputError, PrewriteError
from prewrite.base.files import Folder
from prewrite.base.fingerprint import differences, fingerprint, other_configuration
from prewrite.evaluation.command_steps import CommandStep, Steps
from prewrite.evaluation.improve import anchor as anchors
from prewrite.evaluation.improve import page
from prewrite.evaluation.improve.anchor import FIRST, LAST, Places
from prewrite.evaluation.improve.checks import CommandRecipes, refuse_anchors, refuse_commands
from prewrite.evaluation.improve.commands import made, making, measuring, shown, upcoming
from prewrite.evaluation.improve.config import ImproveConfig, ImproveRecipe
from prewrite.evaluation.improve.evidence import read_evidence
from prewrite.evaluation.improve.gate import Evidence, decide, needed
from prewrite.evaluation.improve.guards import PartName
from prewrite.evaluation.improve.ledger import (
    Begin,
    Closed,
    Compared,
    Ended,
    Entry,
    Last,
    Ledger,
    ModelRef,
)
from prewrite.evaluation.improve.state import PARTS, RoundState, state_of, why_ended, word_for
from prewrite.judge.provenance import Provenance, read


def run(recipe: ImproveRecipe, known: CommandRecipes) -> None:
    """Run what is left of the rounds. known: the recipes of the commands that may be steps."""
    config = recipe.improve
    with _alone(Path(config.output)):
        ledger = Ledger(Folder(config.output))
        begin = _begun(config, known, ledger.entries)
        if not ledger.entries:
            ledger.add(begin)
        Rounds(config, ledger, Steps(Path(config.output))).finish()
    print(f"{config.output}/rounds.jsonl, {config.output}/{page.NAME}")


def plan(recipe: ImproveRecipe, known: CommandRecipes) -> str:
    """What `run` would do next."""
    config = recipe.improve
    entries = Ledger(Folder(config.output)).entries
    begin = _begun(config, known, entries)
    state = state_of(entries or [begin])
    least = needed(config.comparisons, config.gain)
    lines = [
        f"{state.compared} of {config.comparisons} comparisons made; documents an anchor needs: "
        f"{least}"
    ]
    if reason := state.ended or why_ended(state, config.rounds):
        said = "" if state.closed else "; the second anchor is opened next"
        return "\n".join([*lines, f"no further round: {reason}{said}"])
    return "\n".join([*lines, f"round {state.round}:", *map(shown, upcoming(config, state))])


class Rounds:
    """The rounds of a ledger, from where it stands."""

    def __init__(self, config: ImproveConfig, ledger: Ledger, steps: Steps) -> None:
        self._config, self._ledger, self._steps = config, ledger, steps
        begin = ledger.entries[0]
        assert isinstance(begin, Begin), "the ledger begins with it"
        self._begin = begin

    def finish(self) -> None:
        """Go on until the second anchor is closed; PrewriteError where a step fails."""
        self._show()  # a kill may have come between an entry and its page
        while not (state := state_of(self._ledger.entries)).closed:
            if state.ended:
                self._open_last_anchor(state)
            elif reason := why_ended(state, self._config.rounds):
                self._add(Ended(reason=reason))
            else:
                self._add(self._compared(state))

    def _add(self, entry: Entry) -> None:
        self._ledger.add(entry)
        self._show()
        if isinstance(entry, Compared):
            why = f": {'; '.join(entry.reasons)}" if entry.reasons else ""
            where = f"round {entry.round}, {entry.part}"
            console.print(f"{where}: {entry.decision}{why}", soft_wrap=True)

    def _show(self) -> None:
        text = page.page(self._ledger.entries)
        Folder(self._config.output).write(page.NAME, text.encode("utf-8", "replace"))

    def _compared(self, state: RoundState) -> Compared:
        """The next part, made, measured and decided on."""
        config, begin, part = self._config, self._begin, state.part
        if state.compared >= begin.comparisons:
            raise InputError(
                f"improve.comparisons: found {begin.comparisons}, all of them made; accepted: no "
                "further comparison on this anchor"
            )
        models = {name: one.model for name, one in state.models.items()}
        self._run(making(config, state.round, part, models, state.good))
        candidate = self._candidate(state)
        incumbent = state.models[part]
        own, before = (self._measured(FIRST, part, one) for one in (candidate, incumbent))
        decision = decide(part, own, before, begin.comparisons, begin.gain)
        word, reasons = word_for(decision, state.promoted)
        trained = read(candidate.model)
        return Compared(
            round=state.round,
            part=part,
            candidate=candidate,
            incumbent=incumbent,
            made_with=dict(state.models),
            parents=trained.parents if trained else [],
            data=_data(trained),
            figures=decision,
            left_out=dict(own.left_out),
            decision=word,
            reasons=reasons,
        )

    def _candidate(self, state: RoundState) -> ModelRef:
        """What the commands of a part have made; InputError where an anchor went into it."""
        folder = f"{made(self._config, state.round, state.part)}/model"
        if not Path(folder, "config.json").exists():
            raise InputError(
                f"improve.{state.part}.make: found no model in {folder}; accepted: commands of "
                "which the last leaves one there"
            )
        for key in (FIRST, LAST):
            anchors.refuse_learnt(key, self._anchor(key), state.part, folder)
        return anchors.model_ref(folder)

    def _measured(self, key: str, part: PartName, model: ModelRef) -> Evidence:
        """What the commands of `measure` find of a model, once for each anchor. The anchor is
        looked at before and after.
        """
        folder = f"{self._config.output}/measured/{key}/{part}-{model.digest[:12]}"
        anchor = self._anchor(key)
        known = self._begin.anchor if key == FIRST else self._begin.last_anchor
        anchors.refuse_swapped(key, anchor, known)
        self._run(measuring(self._config, part, model.model, folder, anchor))
        anchors.refuse_swapped(key, anchor, known)
        return read_evidence(part, folder)

    def _anchor(self, key: str) -> Places:
        return self._config.anchor if key == FIRST else self._config.last_anchor

    def _run(self, steps: list[CommandStep]) -> None:
        self._steps.made = ""
        for step in steps:
            if said := self._steps.run(step):
                raise PrewriteError(f"{step.name}: {said}; the same command tries again")
            self._steps.made = fingerprint([self._steps.made, self._steps.identity(step)])

    def _open_last_anchor(self, state: RoundState) -> None:
        """Compare each part that was promoted with what it was, then close the ledger."""
        changed = [part for part in PARTS if state.models[part] != state.start[part]]
        done = [one.part for one in self._ledger.entries if isinstance(one, Last)]
        for part in changed:
            if part not in done:
                now, start = state.models[part], state.start[part]
                own, before = (self._measured(LAST, part, one) for one in (now, start))
                figures = decide(part, own, before, len(changed), self._begin.gain)
                left_out = dict(own.left_out)
                self._add(Last(part=part, candidate=now, start=start, figures=figures,
                               left_out=left_out))  # fmt: skip
        self._add(Closed())


def _begun(config: ImproveConfig, known: CommandRecipes, entries: list[Entry]) -> Begin:
    """The first entry, as it is or would be. ConfigError for a recipe that is refused, or another
    one than the ledger's; InputError for an anchor that was swapped.
    """
    start = {part: anchors.model_ref(config.part(part).start) for part in PARTS}
    before = entries[0] if entries else None
    if isinstance(before, Begin):
        anchors.refuse_swapped(FIRST, config.anchor, before.anchor)
        anchors.refuse_swapped(LAST, config.last_anchor, before.last_anchor)
    refuse_anchors(config, start)
    refuse_commands(config, known)
    begin = Begin(
        anchor=anchors.digests(FIRST, config.anchor),
        last_anchor=anchors.digests(LAST, config.last_anchor),
        start=start,
        documents=config.documents,
        rounds=config.rounds,
        comparisons=config.comparisons,
        gain=config.gain,
    )
    if before:
        old, new = (one.model_dump(mode="json") for one in (before, begin))
        if changed := differences(old, new, "improve"):
            raise other_configuration(config.output, changed, "choose another improve.output")
    return begin


def _data(trained: Provenance | None) -> list[str]:
    """What a model was trained on, in words."""
    return [
        f"{one.set} where `{one.filter}`" if one.filter else one.set
        for one in (trained.data if trained else ())
    ]


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One run at a time."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "rounds.lock", "w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(
                f"improve.output: found {folder}, where another run is at work; accepted: one run "
                "at a time"
            ) from None
        yield

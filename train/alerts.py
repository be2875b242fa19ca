"""Alerts: when the last steps say that a run goes wrong.

The state is a few plain numbers, one line a step of the window, so a checkpoint holds it and a
resumed run warns of the same steps; it begins anew with each phase. The functions are pure: every
rank comes to the same alerts from the same values.
"""

from collections.abc import Iterator, Mapping, Sequence
from math import isfinite, nan
from statistics import fmean

from prewrite.base.errors import PrewriteError
from prewrite.train.config.sections import AlertsConfig

WATCHED = (
    "rollouts/spread",
    "rollouts/repetition",
    "rollouts/length_ratio",
    "rollouts/pools",
    "rollouts/unscored_pools",
    "failed_verdicts",
    "empty",
)

AlertState = list[list[float | None]]
"""A line a step, oldest first: the values of `WATCHED`, None where there was nothing to measure."""


def after(state: AlertState, values: Mapping[str, float], config: AlertsConfig) -> AlertState:
    """The state after a step with the logged `values`; `empty` is 1 for an empty step, else 0."""
    found = [values.get(name, nan) for name in WATCHED]
    line = [value if isfinite(value) else None for value in found]
    known = [one for one in state if len(one) == len(WATCHED)]  # of an earlier version: fewer
    return [*known, line][-config.window :]


def raised(state: AlertState, config: AlertsConfig) -> dict[str, str]:
    """What is wrong: key of `config` → sentence. Nothing is before the window is full."""
    if len(state) < config.window:
        return {}
    means = dict(zip(WATCHED, map(_mean, zip(*state, strict=True)), strict=True))
    where = f"mean of the last {config.window} steps"
    return {
        key: f"train.alerts.{key}: found {found} ({where}); accepted: {accepted}"
        for found_in in (_wrong_rollouts, _wrong_shares)
        for key, found, accepted in found_in(means, config)
    }


def sound(before: AlertState, now: AlertState, config: AlertsConfig) -> list[str]:
    """The sentences to print after a step: alerts that it has raised. Each is told once until it
    was off again. With `action: stop`, or where it is `max_unread`, a PrewriteError says them, new
    or not: a run that goes on from a checkpoint with an alert in it stops again.
    """
    alerts = raised(now, config)
    if alerts and (config.action == "stop" or "max_unread" in alerts):
        raise PrewriteError("; ".join(alerts.values()))
    known = raised(before, config)
    return [sentence for key, sentence in alerts.items() if key not in known]


Means = Mapping[str, float | None]


def _wrong_rollouts(means: Means, config: AlertsConfig) -> Iterator[tuple[str, str, str]]:
    """Key, what was found, what is accepted. No pool with two scores is no spread at all."""
    if means["rollouts/pools"] is None:
        return
    spread, repetition, ratio = (means[name] for name in WATCHED[:3])
    if (spread or 0.0) < config.min_spread:
        told = "no pool with two scores" if spread is None else f"a spread of {spread:.4g}"
        yield "min_spread", told, f"a spread of at least {config.min_spread:g}"
    if repetition is not None and repetition > config.max_repetition:
        told = f"a repetition of {repetition:.4g}"
        yield "max_repetition", told, f"at most {config.max_repetition:g}"
    unread = means["rollouts/unscored_pools"]
    if unread is not None and unread > config.max_unread:
        told = f"a share of {unread:.4g} of the pools with fewer than two scores"
        yield "max_unread", told, f"at most {config.max_unread:g}"
    drift = config.max_length_drift
    if ratio is not None and not 1 / drift <= ratio <= drift:
        told = f"rollouts {ratio:.4g} times as long as the originals"
        yield "max_length_drift", told, f"{1 / drift:.4g} to {drift:g} times"


def _wrong_shares(means: Means, config: AlertsConfig) -> Iterator[tuple[str, str, str]]:
    failed, empty = means["failed_verdicts"], means["empty"]
    if failed is not None and failed > config.max_failed_verdicts:
        told = f"a share of {failed:.4g} of the verdicts that failed"
        yield "max_failed_verdicts", told, f"at most {config.max_failed_verdicts:g}"
    if empty is not None and empty > config.max_empty_steps:
        told = f"a share of {empty:.4g} of the steps with nothing to learn from"
        yield "max_empty_steps", told, f"at most {config.max_empty_steps:g}"


def _mean(column: Sequence[float | None]) -> float | None:
    known = [value for value in column if value is not None]
    return fmean(known) if known else None

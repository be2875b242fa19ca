"""At least half of what a policy learns is human text, and originals stay in every pool: without
them rounds learn from their own echo.
"""

from collections.abc import Mapping
from typing import Any

from prewrite.base.errors import ConfigError

HUMAN = 0.5
"""The least share of what a policy learns that is human text."""


def refuse_little_human(where: str, train: Mapping[str, Any]) -> None:
    """ConfigError where a policy learns less than half from human text, or compares texts without
    the original among them. A judge and a rewriter are asked about originals anyway.
    """
    if train.get("task", {}).get("kind", "continue") != "continue":
        return
    for number, phase in enumerate(train["curriculum"]):
        key, parts = f"{where}: train.curriculum.{number}", _parts(phase["objective"])
        learnt = [one for one in parts if one["kind"] in ("nll", "rf_nll")]
        human = [one for one in learnt if one["kind"] == "nll" and _text(one) == "original"]
        whole = sum(map(_weight, learnt))
        if learnt and (share := sum(map(_weight, human)) / whole) < HUMAN:
            raise ConfigError(
                f"{key}.objective: found {100 * share:.0f} % of what is learnt on the text "
                f"original; accepted: at least {100 * HUMAN:.0f} %, by the weights of nll and "
                "rf_nll"
            )
        given = phase.get("candidates") or ["original"]
        if len(learnt) < len(parts) and "original" not in given:
            raise ConfigError(
                f"{key}.candidates: found {', '.join(given)}; accepted: with original, which stays "
                "in every pool"
            )


def _parts(objective: Any) -> list[dict[str, Any]]:
    """The components of an objective, as a recipe may write it."""
    items = objective if isinstance(objective, list) else [objective]
    return [{"kind": one} if isinstance(one, str) else one for one in items]


def _text(part: Mapping[str, Any]) -> str:
    return str(part.get("text", "original"))


def _weight(part: Mapping[str, Any]) -> float:
    return float(part.get("weight", 1.0))

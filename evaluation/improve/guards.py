"""What must not get worse while the anchor's scores get better, by part, and how much is too much.

A limit is about the figure of the candidate beside that of the incumbent. A figure that should lie
near a place may also be where the incumbent already was: a guard keeps what there is, it does not
ask for more.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

PartName = Literal["judge", "rewriter", "policy"]


class Limit(Protocol):
    """How far a figure may go."""

    def holds(self, own: float, before: float) -> bool:
        """Whether a candidate's figure is accepted beside that of the incumbent."""
        ...

    def accepted(self, before: float) -> str:
        """What is accepted, in words."""
        ...


@dataclass(frozen=True)
class AtMost:
    """At most the incumbent's times `factor`, plus `more`."""

    factor: float = 1.0
    more: float = 0.0

    def holds(self, own: float, before: float) -> bool:
        """See `Limit`."""
        return own <= before * self.factor + self.more

    def accepted(self, before: float) -> str:
        """See `Limit`."""
        return f"at most {before * self.factor + self.more:.4g} (incumbent {before:.4g})"


@dataclass(frozen=True)
class AtLeast:
    """At least the incumbent's times `factor`."""

    factor: float

    def holds(self, own: float, before: float) -> bool:
        """See `Limit`."""
        return own >= before * self.factor

    def accepted(self, before: float) -> str:
        """See `Limit`."""
        return f"at least {before * self.factor:.4g} (incumbent {before:.4g})"


@dataclass(frozen=True)
class Between:
    """Between `low` and `high`, or no further outside than the incumbent."""

    low: float
    high: float

    def holds(self, own: float, before: float) -> bool:
        """See `Limit`."""
        return self._outside(own) <= self._outside(before)

    def accepted(self, before: float) -> str:
        """See `Limit`."""
        further = f", or as far outside as {before:.4g}" if self._outside(before) else ""
        return f"{self.low:g} to {self.high:g}{further}"

    def _outside(self, value: float) -> float:
        return max(self.low - value, value - self.high, 0.0)


_OF_TEXTS: Mapping[str, Limit] = {
    "repetition": AtMost(more=0.01),
    "distinct_4": AtLeast(0.95),
    "refusals": AtMost(more=0.01),
    "length": Between(0.8, 1.25),
}

GUARDS: Mapping[PartName, Mapping[str, Limit]] = {
    "judge": {
        "p_first": Between(0.48, 0.52),
        "canary_flips": AtMost(more=0.02),
        "length": Between(-0.1, 0.1),
    },
    "rewriter": {**_OF_TEXTS, "overlap": Between(0.2, 0.95)},
    "policy": {**_OF_TEXTS, "bits_per_byte": AtMost(factor=1.01)},
}
"""Part → figure → limit.

p_first: how often the text that stands first wins. canary_flips: share of verdicts that hostile
text turns. length: of a judge, how often the longer text of a pair wins, less how often it is the
better one by its label; of a rewriter, characters of rewrites by those of their originals; of a
policy, of its continuations by those of the originals. repetition, refusals, distinct_4: of the
texts that are written. overlap: words shared with the original by those of the longer one, mean.
bits_per_byte: on human text.
"""

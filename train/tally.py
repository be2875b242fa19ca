"""What the steps of a phase have come to, and why cut points were not learnt from."""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict

_WHY = {
    "missing": "no usable rewrite or rollout",
    "unscored": "no scores",
    "equal": "equal scores or equal texts",
}


class LearningTally(BaseModel):
    """What the steps of the phase `phase` have come to: steps that moved the model, that found
    nothing to learn from, and that were skipped; cut points by what came of them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    phase: str = ""
    moved: int = 0
    empty: int = 0
    skipped: int = 0
    learnt: int = 0
    equal: int = 0
    unscored: int = 0
    missing: int = 0

    def after(
        self, moved: bool, empty: bool, cuts: float, points: Mapping[str, int]
    ) -> "LearningTally":
        """These and one step more. cuts: its cut points, those without any text included."""
        known = points["learnt"] + points["equal"] + points["unscored"]
        return LearningTally(
            phase=self.phase,
            moved=self.moved + moved,
            empty=self.empty + empty,
            skipped=self.skipped + (not (moved or empty)),
            learnt=self.learnt + points["learnt"],
            equal=self.equal + points["equal"],
            unscored=self.unscored + points["unscored"],
            missing=self.missing + int(cuts) - known,
        )

    @property
    def steps(self) -> int:
        """All of them."""
        return self.moved + self.empty + self.skipped

    @property
    def tied(self) -> bool:
        """Whether no step was skipped, and texts could be compared, though none was better."""
        return self.equal > 0 and not self.skipped

    @property
    def why(self) -> str:
        """Why cut points were not learnt from, the commonest reason first."""
        told = reasons({name: getattr(self, name) for name in _WHY})
        return f"cut points: {told}" if told else "no cut point passes the filters"


def reasons(counts: Mapping[str, int]) -> str:
    """`12 with no scores, 3 with equal scores or equal texts`, the commonest first."""
    told = sorted((name for name in _WHY if counts[name]), key=lambda name: -counts[name])
    return ", ".join(f"{counts[name]:,} with {_WHY[name]}" for name in told)

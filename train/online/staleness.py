"""Which weights sample the rollouts of which step: a fixed lag, so that a run can be repeated.

New weights go to the engine every `every` steps, and all steps that they shall sample are asked for
at once; the engine works `ahead` steps before the trainer. So what a step learns from depends on
the configuration alone, never on how fast anything was: the weights that sampled it are at most
`staleness` steps old, and no rollout is preferred for having come early. With staleness 0 the two
take turns, and every step is exactly on-policy.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class StalenessSchedule:
    """start: steps made before the phase. every, staleness: `sync_every` and `max_staleness` of the
    configuration, with every - 1 <= staleness.
    """

    start: int
    every: int
    staleness: int

    @property
    def ahead(self) -> int:
        """Steps that the engine may work before the trainer has made the last one."""
        return self.staleness - self.every + 1

    def version(self, step: int) -> int:
        """The weights that sample for the step after `step` steps: those of so many steps."""
        late = max(0, step - self.start - self.ahead)
        return self.start + late // self.every * self.every

    def due(self, step: int) -> range:
        """The steps from `step` on that the weights of `step` steps or older ones sample."""
        last = step - (step - self.start) % self.every
        return range(step, last + self.ahead + self.every)

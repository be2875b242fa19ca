"""Proof on two cores that the tasks `rewrite` and `judge` learn: `python -m benchmarks.prove`."""

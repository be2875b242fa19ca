"""Proof on two cores that the tasks `rewrite`, `judge` and `think` learn: `python -m benchmarks.prove`."""

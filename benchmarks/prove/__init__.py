"""Proof on two cores that rewriter, judge and thinker learn: `python -m benchmarks.prove`."""

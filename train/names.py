"""What a run calls what it writes in `train.output`."""

MODEL, CHECKPOINTS, ROLLOUTS = "model", "checkpoints", "rollouts"
CACHE, BOARD = "cache", "tensorboard"
METRICS, CONTINUATIONS = "metrics.jsonl", "continuations.md"
NAMES = (MODEL, CHECKPOINTS, ROLLOUTS, CACHE, BOARD, METRICS, CONTINUATIONS)

LOCK = "lock.json"

RECORD = "run.json"
"""Says that the folder is a run's."""

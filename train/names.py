"""What a run calls what it writes in `train.output`, beside the lock."""

MODEL, CHECKPOINTS, ROLLOUTS = "model", "checkpoints", "rollouts"
CACHE, BOARD = "cache", "tensorboard"
METRICS, CONTINUATIONS = "metrics.jsonl", "continuations.md"
NAMES = (MODEL, CHECKPOINTS, ROLLOUTS, CACHE, BOARD, METRICS, CONTINUATIONS)

RECORD = "run.json"
"""Says that the folder is a run's."""

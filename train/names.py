"""What a run calls what it writes in `train.output`, beside the lock."""

MODEL, CHECKPOINTS, ROLLOUTS = "model", "checkpoints", "rollouts"
CACHE, BOARD = "cache", "tensorboard"
METRICS, PLOT, CONTINUATIONS = "metrics.jsonl", "loss.png", "continuations.md"
NAMES = (MODEL, CHECKPOINTS, ROLLOUTS, CACHE, BOARD, METRICS, PLOT, CONTINUATIONS)

RECORD = "run.json"
"""Says that the folder is a run's."""

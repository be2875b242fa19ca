"""What runs: a pass over documents, its workers, executors and resume."""

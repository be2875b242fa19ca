"""What a model is asked about a row, and what its answer is worth."""

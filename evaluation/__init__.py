"""What became of a model: continuations of held-out texts, judged and measured, beside others."""

"""Corpus in, shards with original and rewrite out: read, cut in chunks, prompt, generate, check."""

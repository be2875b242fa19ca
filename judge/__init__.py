"""Shards in, shards with scores out: criteria, prompts, read-outs, pools."""

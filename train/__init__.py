"""Scored shards to a trained model: Megatron-Core, one trunk a document, exact to the sample."""

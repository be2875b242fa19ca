"""The scored-shard format: schema, commits, manifest, readers. Knows no model."""

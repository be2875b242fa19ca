"""From shard sets to rows of tokens: which samples, in which order, laid out as trees."""

"""Batches: of arrays in memory or of shards, shuffled, shared out among processes."""

"""Data on disk in shards of arrays: written once, mapped, never in memory as a whole."""

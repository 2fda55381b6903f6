"""What the commands do with a configured run."""

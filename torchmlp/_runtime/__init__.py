"""What a run needs of its machine: files, signals, random generators."""

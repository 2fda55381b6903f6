"""The commands, one file each; see `table`."""

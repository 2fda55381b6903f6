"""The map: grid, cells, their training, outcomes, and the file that keeps them."""

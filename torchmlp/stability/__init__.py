"""Which sizes, batches and learning rates train: many networks at once, and the map of them."""

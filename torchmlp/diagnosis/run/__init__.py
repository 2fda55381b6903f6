"""The run under diagnosis: model, loss, optimizer, batches, and a snapshot of them."""

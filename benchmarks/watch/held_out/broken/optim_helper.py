def update(optimizer, loss):
    """One update of the parameters."""
    loss.backward()
    optimizer.zero_grad()
    optimizer.step()

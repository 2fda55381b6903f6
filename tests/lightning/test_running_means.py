import torch

from torchmlp.lightning.running_means import RunningMeans


def batches() -> list[tuple[torch.Tensor, int, int]]:
    """Losses of very different sizes, whose sum depends on the order."""
    losses = 10.0 ** torch.randn(50, generator=torch.Generator().manual_seed(0)).mul(6)
    return [(loss, k % 7, 7 + k % 2) for k, loss in enumerate(losses)]


def test_an_epoch_that_is_looked_at_and_cut_has_the_same_means() -> None:
    """However often the sums are looked at, and through a checkpoint: the same to the last bit."""
    whole, parts = RunningMeans(), RunningMeans()
    for number, batch in enumerate(batches()):
        whole.add(*batch)
        parts.add(*batch)
        if number % 3 == 0:
            parts.sums(torch.device("cpu"))
        if number == 20:
            state = parts.state_dict()
            parts = RunningMeans()
            parts.load_state_dict(state)
    assert parts.state_dict() == whole.state_dict()
    loss, right = whole.sums(torch.device("cpu"))
    expected = sum(float(loss) * count for loss, _, count in batches())
    assert float(loss) == expected
    assert int(right) == sum(right for _, right, _ in batches())
    assert whole.count == 375

"""Scripts whose loop is another's, and models that are compiled, are watched quietly."""

import copy
import io
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from torchmlp import watch

X = torch.randn(96, 6, generator=torch.Generator().manual_seed(1))
Y = (X @ torch.randn(6, 3, generator=torch.Generator().manual_seed(2))).argmax(1)
QUIET: dict[str, Any] = {
    **dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar"), False),
    "enable_model_summary": False,
}


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 3))


def lightning() -> Any:
    from torchmlp._compat.lightning import pl  # noqa: PLC0415  seconds; mends what it imports

    return pl


@pytest.mark.filterwarnings("ignore")
def test_lightning() -> None:
    """A LightningModule with validation, a schedule, clipping and accumulation."""
    pl = lightning()

    class Module(pl.LightningModule):  # type: ignore[name-defined]  # imported where it is run
        def __init__(self) -> None:
            super().__init__()
            self.net = net()

        def training_step(self, batch: Any) -> Tensor:
            return F.cross_entropy(self.net(batch[0]), batch[1])

        def validation_step(self, batch: Any) -> None:
            self.log("loss", F.cross_entropy(self.net(batch[0]), batch[1]))

        def configure_optimizers(self) -> Any:
            adam = torch.optim.Adam(self.parameters(), lr=0.01)
            return [adam], [torch.optim.lr_scheduler.StepLR(adam, 5)]

    data = TensorDataset(X, Y)
    with watch() as watched:
        trainer = pl.Trainer(
            max_epochs=4,
            gradient_clip_val=1.0,
            accumulate_grad_batches=2,
            accelerator="cpu",
            **QUIET,
        )
        trainer.fit(Module(), DataLoader(data, 8, shuffle=True), DataLoader(data, 48))
    assert watched.report.steps == 24
    assert watched.report.findings == []
    assert watched.report.notes == []


@pytest.mark.filterwarnings("ignore")
def test_skorch() -> None:
    """A NeuralNetClassifier."""
    skorch = pytest.importorskip("skorch")
    with watch() as watched:
        skorch.NeuralNetClassifier(
            net, criterion=nn.CrossEntropyLoss, optimizer=torch.optim.Adam, lr=0.01, batch_size=16,
            max_epochs=5, verbose=0, iterator_train__shuffle=True,
        ).fit(X.numpy(), Y.numpy())  # fmt: skip
    assert watched.report.steps > 20
    assert watched.report.findings == []


@pytest.mark.filterwarnings("ignore")
def test_torchmlps_own_classifier(tmp_path: Path) -> None:
    """The trainer of this package."""
    pl = lightning()
    from torchmlp import Classifier  # noqa: PLC0415  seconds

    with watch() as watched:
        model = Classifier(in_features=6, hidden=16, out_features=3)
        trainer = pl.Trainer(max_epochs=3, accelerator="cpu", default_root_dir=tmp_path, **QUIET)
        trainer.fit(model, DataLoader(TensorDataset(X, Y), 8, shuffle=True))
    assert watched.report.findings == []
    assert watched.report.notes == []


def test_a_compiled_model_is_said_once() -> None:
    """It computes what it does unwatched."""
    results = []
    for watched in (False, True):
        torch._dynamo.reset()
        block = watch()
        if watched:
            block.__enter__()
        models: list[Any] = [torch.compile(net(), backend="eager") for _ in range(2)]
        sgd = torch.optim.SGD([p for model in models for p in model.parameters()], lr=0.1)
        for _ in range(3):
            sgd.zero_grad()
            torch.manual_seed(3)
            torch.stack([F.cross_entropy(model(X), Y) for model in models]).sum().backward()
            sgd.step()
        if watched:
            block.__exit__(None, None, None)
            assert len([n for n in block.report.notes if "compile" in n]) == 1
        results.append([p.detach() for model in models for p in model.parameters()])
    assert all(a.equal(b) for a, b in zip(*results, strict=True))


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_copies_and_exports() -> None:
    """Deep-copied, pickled, saved, scripted, traced and exported while watched, and trained."""
    with watch():
        model = net().eval()
        sgd = torch.optim.SGD(model.parameters(), lr=0.1)
        F.cross_entropy(model(X), Y).backward()
        sgd.step()
        buffer = io.BytesIO()
        torch.save(model, buffer)
        buffer.seek(0)
        others = [
            copy.deepcopy(model),
            pickle.loads(pickle.dumps(model)),
            torch.load(buffer, weights_only=False),
            torch.jit.script(model),
            torch.jit.trace(model, X),
            torch.export.export(model, (X,)).module(),
            torch.fx.symbolic_trace(model),
        ]
        copy.deepcopy(sgd)
        pickle.loads(pickle.dumps(sgd))
    expected = model(X)
    for other in others:
        assert other(X).equal(expected)

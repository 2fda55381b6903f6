import csv
from pathlib import Path

import pytest
import torch

from torchmlp import ImageDataModule
from torchmlp.cli.actions.output import measured_on, print_metrics, write_predictions


def test_figures_name_their_data() -> None:
    """The number of images, the part and the data set; without a data module, what there is."""
    data = ImageDataModule(source="embedded", val_size=300)
    data.setup("fit")
    title = "embedded digits, a 6000-image subset of MNIST"
    assert measured_on(data, "test") == f"1000 test images of {title}"
    assert measured_on(data, "predict") == f"1000 test images of {title}"
    assert measured_on(data, "validate") == f"300 validation images of {title}"
    assert measured_on(None, "test") == "the model's own data"


def test_the_accuracy_comes_first(capsys: pytest.CaptureFixture[str]) -> None:
    """With the data behind it, whatever order the metrics are in; four digits each."""
    print_metrics({"test_loss": 0.123456, "test_accuracy": 0.98765}, "ten images")
    assert capsys.readouterr().out == "test accuracy 0.9877 on ten images\ntest loss 0.1235\n"


def test_predictions_are_a_table(tmp_path: Path) -> None:
    """A row per image; a class whose name holds a comma stays one column."""
    path = tmp_path / "predictions.csv"
    write_predictions(path, torch.tensor([[0.25, 0.75], [1.0, 1e-9]]), ("a, b", "ö"))
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["index", "prediction", "p(a, b)", "p(ö)"],
        ["0", "ö", "0.25", "0.75"],
        ["1", "a, b", "1", "1e-09"],
    ]

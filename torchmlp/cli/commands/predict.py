"""`predict`: write a checkpoint's predictions as CSV."""

from torchmlp.cli.commands.evaluation import evaluation

INTRODUCTION = """\
Writes lightning_logs/version_N/predictions.csv: a row for each test image,
with its index, the most probable class and the probability of each class."""

COMMAND = evaluation("predict", "write a checkpoint's predictions as CSV", INTRODUCTION)

"""`validate`: measure a checkpoint on the validation images."""

from torchmlp.cli.commands.evaluation import evaluation

INTRODUCTION = """\
Measures a checkpoint on the validation images. Prints `val accuracy` with the
data it was measured on, and the loss; writes its settings and the figures into
lightning_logs/version_N (config.yaml, metrics.csv)."""

COMMAND = evaluation("validate", "measure a checkpoint on the validation images", INTRODUCTION)

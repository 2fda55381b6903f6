"""Watching a training loop as it stands, and naming the mistakes in it."""

from torchmlp.watching.report import WatchReport as WatchReport
from torchmlp.watching.watcher import watch as watch

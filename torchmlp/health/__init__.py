"""Why a training run fails: measure, record, judge, try, report."""

from torchmlp.health.diagnosis import diagnose
from torchmlp.health.findings import Finding
from torchmlp.health.report import Report

__all__ = ["Finding", "Report", "diagnose"]

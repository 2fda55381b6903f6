"""Why a training run fails: measure, record, judge, try, report."""

from torchmlp.diagnosis.diagnose import diagnose
from torchmlp.diagnosis.report.report import Report
from torchmlp.diagnosis.rules.causes import Finding

__all__ = ["Finding", "Report", "diagnose"]

"""The report: findings, remedies and record, as text and as JSON."""

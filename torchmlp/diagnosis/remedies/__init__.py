"""Remedies, tried: changed runs from the same start, on the same batches."""

"""What users see, frozen in files: names and signatures, helps, the JSON of some diagnoses.

A move changes none of it. Where something is meant to change, `python -m tests.surface` writes the
files anew, and the commit shows what.
"""

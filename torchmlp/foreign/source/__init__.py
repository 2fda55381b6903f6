"""A file of Python read, and what it defines loaded: its training never runs."""

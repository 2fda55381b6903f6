"""A diagnosis's figures and their captions."""

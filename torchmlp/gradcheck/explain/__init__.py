"""Which mistake a wrong gradient comes from: hypotheses, searched from the last layer down."""

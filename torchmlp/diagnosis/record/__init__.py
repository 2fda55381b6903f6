"""All measurements of a run, and the thresholds that rules hold them to."""

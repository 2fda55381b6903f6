"""The mistakes of a training loop: a class each, with what it hears, its thresholds and words."""

"""The ways in which people write a network: a file for each, an entry in `STYLES` for each."""

from torchmlp.foreign.styles import classes, functions, layers, modules

STYLES = (functions.candidates, classes.candidates, layers.candidates, modules.candidates)

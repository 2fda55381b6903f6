"""How figures look: theme, canvas, axes, numbers as text."""

"""Image data sets: registry, download, verification, reading."""

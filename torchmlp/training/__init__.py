"""Training: as plain streams (`streams`), and with Lightning (everything else).

Nothing is imported here, so that the streams do not wait for Lightning.
"""

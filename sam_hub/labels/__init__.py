"""Writes masks in the formats of other tools: one module per format, all used through `write_labels`."""

"""Masks in the formats of other tools: one module for each format, all behind `write_labels`."""

"""Everything mode for images that do not fit into memory: tiles, and masks merged at their seams."""

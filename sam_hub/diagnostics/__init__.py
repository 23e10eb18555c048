"""Checks the installation, and measures speed and accuracy of models and exported files."""

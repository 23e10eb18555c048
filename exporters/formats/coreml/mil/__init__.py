"""Runs saved Core ML packages without macOS: reads their operations from the file and evaluates them in PyTorch."""

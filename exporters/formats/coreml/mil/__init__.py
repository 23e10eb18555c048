"""A saved Core ML package, run without macOS: its operations are read from the file and evaluated in PyTorch."""

"""`pocket` in NumPy, for processes that finish before PyTorch would have been imported: see `backend`."""

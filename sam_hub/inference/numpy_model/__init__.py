"""`pocket` in NumPy, for a process that is over before PyTorch would be imported: see `backend`."""

"""How this machine is set up, and how fast and faithful models and exported files are on it."""

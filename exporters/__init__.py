"""On-device formats: graphs, their exporters, and the proof that ships with each file."""

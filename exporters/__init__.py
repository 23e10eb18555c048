"""On-device formats: exporters, runners, and the proof that ships with each file."""

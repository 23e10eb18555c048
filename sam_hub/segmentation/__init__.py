"""Segments prompted objects in photos: parses typed prompts, predicts masks, and writes files."""

"""The zero-shot tables of "Segment Anything" (section 7 and appendix D), on any model and any data."""

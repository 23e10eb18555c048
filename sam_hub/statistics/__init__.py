"""Statistics of annotated images, as "Segment Anything" shows them for SA-1B (section 5, figures 5 and 6)."""

"""Arithmetic on images, coordinates, boxes and masks in numpy: nothing here imports torch."""

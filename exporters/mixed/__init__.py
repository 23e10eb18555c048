"""Weights in 4 to 8 bits, with a width for each layer: chosen, rounded and corrected on calibration photos."""

"""Pure NumPy: masks, ranking, patterns, distributions, selection, curves."""

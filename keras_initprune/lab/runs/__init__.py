"""Comparisons of pruning methods, from one run to the table and the figure.

`configuration` says what one run is, `methods` turns it into callbacks, `runner`
trains it, `results` keeps the records, `comparison` plans, drives and shows many runs.
`saved_models` is what commands do with one model.
"""

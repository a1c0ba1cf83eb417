"""Comparisons of pruning methods, from one run to the table and the figure.

`configuration` says what one run is, `methods` turns it into callbacks, `runner`
trains it, `results` keeps the records, `comparison` plans and drives many runs, and
`summary` shows them. `saved_models` and `exports` are what commands do with one model.
"""

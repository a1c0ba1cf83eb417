"""What pruning costs and saves: both sides of every figure measured in one run.

A measure is a function that takes `Sizes` and yields `Measurement` records, in a file
of its own; `running` knows them by name, runs them and shows what they found. Timings
are taken in interleaved pairs, so that a machine whose speed drifts slows both sides
alike; the median of the pairs' ratios is the figure. Nothing here is a test.
"""

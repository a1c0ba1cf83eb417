"""The laboratory: data sets, networks, comparisons, searches, the command line."""

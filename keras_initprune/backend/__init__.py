"""Everything that is private to Keras or particular to a backend."""

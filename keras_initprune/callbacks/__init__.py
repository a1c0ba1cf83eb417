"""Keras callbacks that make a network sparse while it trains, one method in a file.

`keras_initprune` offers them by name.
"""

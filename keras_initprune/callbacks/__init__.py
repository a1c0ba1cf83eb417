"""Keras callbacks that make a network sparse while it trains, named in the package."""

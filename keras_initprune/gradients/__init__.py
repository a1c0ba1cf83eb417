"""Gathers gradients while `fit` trains."""

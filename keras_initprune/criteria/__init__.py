"""Criteria: pure functions that score weights, higher = keep."""

"""Traces what a model computes, call by call."""

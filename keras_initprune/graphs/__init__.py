"""Traces what a model computes, call by call, and copies it."""

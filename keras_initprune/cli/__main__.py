"""Lets `python -m keras_initprune.cli` run the command line."""

from keras_initprune.cli import main

main()

"""Lets `python -m keras_initprune.lab.cli` run the command line."""

from keras_initprune.lab.command import main

main()

"""Sparse execution in TensorFlow: layers that hold only the kept weights.

`to_sparse` swaps `Dense` layers for `SparseDense` ones where that pays, `to_dense`
swaps them back.
"""

from keras_initprune.sparse.conversion import has_sparse_layers, to_dense, to_sparse
from keras_initprune.sparse.layer import SparseDense

__all__ = ["SparseDense", "has_sparse_layers", "to_dense", "to_sparse"]

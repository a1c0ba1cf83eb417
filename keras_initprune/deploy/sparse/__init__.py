"""Sparse execution in TensorFlow and PyTorch: layers that hold only the kept weights.

`to_sparse` swaps `Dense` layers for `SparseDense` ones where that pays, `to_dense`
swaps them back.
"""

"""The same networks, data, batches and sparsity in this package and in its peers.

A peer is a file here that says how it trains, saves and loads (`side.Side`).
`measuring` takes the same figures of all, each training in a process of its own;
`driving` makes an environment for each peer and starts those processes; `page` shows
what they found. What runs inside a peer's environment imports nothing of this package
but this folder. Nothing here is a test.
"""

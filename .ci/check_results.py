"""Checks what a comparison on real data must show, however short it was."""

import sys

from keras_initprune.lab.runs.results import Results

runs = Results(sys.argv[1]).runs
error = {run["method"]: run["test_error"] for run in runs}
for run in runs:
    wanted = 0.0 if run["method"] == "dense" else run["sparsity"]
    if abs(run["achieved_sparsity"] - wanted) > 1e-4:
        sys.exit(f"{run['method']} reached {run['achieved_sparsity']}, not {wanted}.")
for better, worse in (
    ("dense", "random"),
    ("k_starts", "random"),
    ("combination", "random"),
    ("combination", "k_starts"),
):
    if not error[better] < error[worse]:
        sys.exit(f"{better} is no better than {worse}: {error}")
print("As expected:", ", ".join(f"{name} {value:.2%}" for name, value in error.items()))

"""The house has no circles: files import only from the layers above them."""

import ast
from pathlib import Path

import keras_initprune

PACKAGE = Path(keras_initprune.__file__).parent

# A file imports only from earlier rows; files inside one folder may import each other.
LAYERS = [
    ["validation", "intervals", "curves", "files", "quiet", "numpy_runtime"],
    ["masks", "prunable", "distributions", "datasets", "models", "plots"],
    ["ranking", "liveness", "rewiring"],
    ["constraints", "paths", "selection", "criteria", "patterns"],
    [
        "candidates",
        "gradients",
        "sanity_checks",
        "lottery",
        "compaction",
        "pruning",
        "sparse",
    ],
    ["dense_gradients", "export", "quantising", "report"],
    ["callbacks"],
    ["sparse_training"],
    ["experiments"],
    ["tuner"],
    ["cli"],
]
ROW = {name: row for row, names in enumerate(LAYERS) for name in names}


def imported_modules(path):
    """Yield the parts of this package that a file imports, by their top name."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "keras_initprune" and len(parts) > 1:
                yield parts[1]


def top_name(path):
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def sources():
    return sorted(PACKAGE.rglob("*.py"))


def test_every_file_has_its_layer():
    assert {top_name(path) for path in sources()} - {"__init__"} == set(ROW)


def test_imports_only_go_to_layers_above():
    wrong = [
        f"{path.relative_to(PACKAGE)} imports {target}"
        for path in sources()
        if (name := top_name(path)) != "__init__"
        for target in imported_modules(path)
        if target in ROW and target != name and ROW[target] >= ROW[name]
    ]
    assert not wrong

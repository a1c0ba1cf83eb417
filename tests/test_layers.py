"""The house has no circles: files import only from the layers above them."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import keras_initprune

PACKAGE = Path(keras_initprune.__file__).parent

# A room, or one file of a room that stands elsewhere. A file imports only from earlier
# rows; files of one room may import each other.
LAYERS = [
    # The NumPy runtime is one file that runs without this package.
    [
        "validation",
        "files",
        "tables",
        "quiet",
        "imports",
        "deploy/numpy_runtime",
    ],
    ["arrays", "backend", "plots"],
    ["constraints"],
    ["gradients", "graphs", "paths"],
    ["criteria"],
    ["pruning", "callbacks", "research"],
    ["deploy"],
    ["reports"],
    ["tuner"],
    ["lab"],
]
ROW = {place: row for row, places in enumerate(LAYERS) for place in places}


def name_of(path):
    """Return a file's name in the package, such as `paths/inputs` or `paths`."""
    return (
        path.relative_to(PACKAGE).with_suffix("").as_posix().removesuffix("/__init__")
    )


FILES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}
del FILES["__init__"]


def place_of(name):
    """Return the entry of `LAYERS` that a file belongs to."""
    return name if name in ROW else name.partition("/")[0]


def imported_modules(tree):
    """Yield what a file imports, in dots, within functions too."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        else:
            yield from imported_modules(node)


def imported_files(name):
    """Return the files of this package that a file imports."""
    found = set()
    for module in imported_modules(ast.parse(FILES[name].read_text())):
        package, _, rest = module.partition(".")
        if package == PACKAGE.name and rest:
            target = rest.replace(".", "/")
            found.add(target if target in FILES else target.rpartition("/")[0])
    return found & set(FILES) - {name}


ARROWS = {name: imported_files(name) for name in FILES}


def test_every_file_has_its_layer():
    assert {place_of(name) for name in FILES} == set(ROW)


def test_arrows_run_one_way_between_rooms():
    wrong = [
        f"{name} imports {target}"
        for name, targets in ARROWS.items()
        for target in targets
        if place_of(target) != place_of(name)
        and ROW[place_of(target)] >= ROW[place_of(name)]
    ]
    assert not wrong


def test_files_import_each_other_in_no_circle():
    list(TopologicalSorter(ARROWS).static_order())


def test_the_laboratory_is_imported_by_itself_alone():
    assert {
        place_of(name)
        for name, targets in ARROWS.items()
        if "lab" in map(place_of, targets)
    } == {"lab"}

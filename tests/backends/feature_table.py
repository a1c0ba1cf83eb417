"""The table of features and backends, read off the marks of the tests.

`python tests/backends/feature_table.py` writes it into the guide anew.
"""

import ast
from pathlib import Path

TESTS = Path(__file__).parent.parent
PAGE = TESTS.parent / "docs" / "guides" / "backends.md"
BEGIN, END = "<!-- features -->\n\n", "\n<!-- end -->"
BACKENDS = {"tensorflow": "TensorFlow", "jax": "JAX", "torch": "PyTorch"}
# On which backends the tests with a mark run.
MARKS = {
    "backends": tuple(BACKENDS),
    "tf_only": ("tensorflow",),
    "jax_only": ("jax",),
    "not_on_jax": ("tensorflow", "torch"),
}


def features():
    """Return on which backends every feature is tested, by the words of its mark."""
    found = {}
    for path in sorted(TESTS.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            name = getattr(node.func, "attr", None)
            feature = getattr(node.args[0], "value", None)
            if name in MARKS and isinstance(feature, str):
                found.setdefault(feature, set()).update(MARKS[name])
    return dict(sorted(found.items(), key=lambda each: (-len(each[1]), each[0])))


def table():
    """Return the table in Markdown."""
    rows = [
        f"| feature | {' | '.join(BACKENDS.values())} |",
        "| --- " + "| :-: " * len(BACKENDS) + "|",
    ]
    for feature, tested in features().items():
        cells = ["yes" if backend in tested else "no" for backend in BACKENDS]
        rows.append(f"| {feature} | {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    text = PAGE.read_text()
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    PAGE.write_text(before + BEGIN + table() + END + after)

"""Makes of the docstrings what they mean: sections, links to papers, links to names."""

import re
from typing import Any

import griffe

# The section is called `Example:` in the docstrings; Griffe knows the plural.
EXAMPLE = re.compile(r"^Example:$", re.MULTILINE)
PAPER = re.compile(r"arXiv\s+(\d{4}\.\d{5})")
SEE = re.compile(r"([Ss]ee) `(\w+)`")


class Docstrings(griffe.Extension):
    """Rewrites every docstring before it is rendered."""

    def on_class_instance(self, *, cls: griffe.Class, **kwargs: Any) -> None:
        """Have arguments inherited from a dataclass that has no `__init__`."""
        for decorator in cls.decorators:
            if isinstance(decorator.value, griffe.ExprCall):
                arguments = decorator.value.arguments
                decorator.value.arguments = [
                    each for each in arguments if str(each) != "init=False"
                ]

    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        """Rewrite those of all modules, once it is known which names are public."""
        names = {name: f"{pkg.path}.{name}" for name in pkg.exports or ()}
        names["prunable_weights"] = f"{pkg.path}.constraints.weights.prunable_weights"
        for docstring in _docstrings(pkg):
            docstring.value = _rewrite(docstring.value, names)


def _docstrings(obj: griffe.Object) -> Any:
    if obj.docstring is not None:
        yield obj.docstring
    for member in obj.members.values():
        if not member.is_alias:
            yield from _docstrings(member)


def _rewrite(text: str, names: dict[str, str]) -> str:
    def link(found: re.Match[str]) -> str:
        see, name = found.groups()
        return f"{see} [`{name}`][{names[name]}]" if name in names else found[0]

    text = EXAMPLE.sub("Examples:", text)
    text = PAPER.sub(r"[arXiv \1](https://arxiv.org/abs/\1)", text)
    return SEE.sub(link, text)

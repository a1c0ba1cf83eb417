"""Which weights of a model are meant: one argument, `layers`, says it everywhere."""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import KW_ONLY, dataclass
from fnmatch import fnmatchcase
from typing import Any, TypeAlias

import keras

from keras_initprune import validation

Selector: TypeAlias = (
    str | re.Pattern | keras.Layer | Callable[[Any], bool] | Collection[Any] | None
)

_ENDS = ("first", "last")


@dataclass(frozen=True, repr=False)
class Layers:
    """Which weights of a model are meant, wherever an argument is called `layers`.

    What `select` takes can be given as `layers` itself: `layers="encoder"` stands for
    `layers=Layers("encoder")`.

    Args:
        select: A layer or its name (with all that is nested in it), a tensor's path, a
            shell-style pattern of names or paths such as `"block_*"`, a compiled
            regular expression that is searched in the paths, a predicate that takes a
            `PrunableWeight`, or a list of these. Defaults to None: all.
        skip_output: Whether to leave out the layers that compute the model's outputs.
            Needs a Sequential or Functional model. Defaults to False.
        embeddings: Whether `Embedding` tables count too. Defaults to False.
        dense: `"first"`, `"last"` or both: of the chosen layers the first or last in
            the model's order keeps all its weights, and the others are sparser instead.
            Only `prune` and `pruning_masks` can do that: callbacks, `lottery_ticket`
            and searches refuse it. Defaults to none.

    Raises:
        ValueError: If an argument is invalid.

    Example:
        >>> Layers("block_*", skip_output=True)
        Layers(select='block_*', skip_output=True, embeddings=False, dense=())
        >>> model = keras.Sequential(
        ...     [keras.Input((8,)), keras.layers.Dense(4), keras.layers.Dense(2)]
        ... )
        >>> from keras_initprune import report
        >>> report(model, layers=Layers(skip_output=True)).parameters
        32
    """

    select: Selector = None
    _: KW_ONLY
    skip_output: bool = False
    embeddings: bool = False
    dense: str | Collection[str] | None = ()

    def __post_init__(self) -> None:
        _check_selector(self.select, "select")
        checked = {
            "skip_output": validation.check_boolean(self.skip_output, "skip_output"),
            "embeddings": validation.check_boolean(self.embeddings, "embeddings"),
            "dense": _check_ends(self.dense),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        """Return the call that makes this object."""
        return validation.call_text(self, vars(self))

    @classmethod
    def of(cls, layers: Any) -> "Layers":
        """Return what an argument `layers` means.

        Raises:
            ValueError: If it is neither a `Layers` nor what `select` takes.
        """
        if isinstance(layers, cls):
            return layers
        return cls(_check_selector(layers, "layers"))

    @property
    def is_default(self) -> bool:
        """Whether nothing is said about which weights are meant."""
        return self.select is None and not self.skip_output and not self.embeddings

    def selected(self, weights: Mapping[str, Any]) -> dict[str, Any]:
        """Return those of some `PrunableWeight`s, by path, that `select` matches.

        Raises:
            ValueError: If a selector matches none.
        """
        if self.select is None:
            return dict(weights)
        chosen: set[str] = set()
        selectors: Any = [self.select] if _is_selector(self.select) else self.select
        for selector in selectors:
            matched = _matched(selector, weights)
            if not matched:
                shown = getattr(selector, "pattern", selector)
                raise ValueError(
                    "`layers` must match at least one prunable weight, which are "
                    f"{', '.join(map(repr, weights))}. Received: layers={shown!r}"
                )
            chosen |= matched
        return {path: weight for path, weight in weights.items() if path in chosen}


LayerSelector: TypeAlias = Selector | Layers


def check_none_dense(layers: LayerSelector, owner: str) -> None:
    """Raise if `layers` is invalid, or has some stay dense, which `prune` alone can."""
    if dense := Layers.of(layers).dense:
        raise ValueError(
            f"`layers` of {owner} cannot have layers stay dense, as those of `prune` "
            "can: leave `dense` out, or have `distribution` give them sparsity 0. "
            f"Received: dense={dense!r}"
        )


def _check_selector(value: Any, name: str) -> Any:
    if value is None or _is_selector(value):
        return value
    # Arrays have no truth value.
    is_filled = isinstance(value, Collection) and len(value) > 0
    if is_filled and all(map(_is_selector, value)):
        return value
    raise ValueError(
        f"`{name}` must be a layer, the name of one, the path of a tensor, a pattern "
        "of these, a compiled regular expression, a predicate, or a list of at least "
        f"one of these. Received: {name}={value!r}"
    )


def _check_ends(dense: Any) -> tuple[str, ...]:
    ends = () if dense is None else [dense] if isinstance(dense, str) else dense
    rule = "None, 'first', 'last' or a list of these"
    validation.require(isinstance(ends, list | tuple | set), dense, "dense", rule)
    return tuple(validation.check_choice(end, "dense", _ENDS) for end in ends)


def _is_selector(value: Any) -> bool:
    # Classes are callable too, but no predicates.
    is_predicate = callable(value) and not isinstance(value, type)
    return isinstance(value, str | re.Pattern) or is_predicate


def _matched(selector: Any, weights: Mapping[str, Any]) -> set[str]:
    """Return the paths of the weights that a selector matches."""
    if isinstance(selector, str):
        names = {path: [path, *path.split("/")[:-1]] for path in weights}
        # A name that is there comes first: it may hold brackets.
        exact = {path for path, own in names.items() if selector in own}
        return exact or {
            path
            for path, own in names.items()
            if any(fnmatchcase(name, selector) for name in own)
        }
    return {path for path, weight in weights.items() if _matches(selector, weight)}


def _matches(selector: Any, weight: Any) -> bool:
    if isinstance(selector, re.Pattern):
        return selector.search(weight.path) is not None
    if isinstance(selector, keras.Layer):
        return any(layer is weight.layer for layer in selector._flatten_layers())
    return bool(selector(weight))

"""Every public function refuses a wrong argument with a sentence that names it.

One argument at a time is replaced by each of `VALUES`. What is not listed as legitimate
must be a `ValueError` or `TypeError` whose message names the argument, and what is
listed must be taken.
"""

import inspect
import re

import keras
import numpy as np
import pytest

import keras_initprune
from keras_initprune import RandomPruning, install_masks, set_masks, to_sparse

pytestmark = pytest.mark.slow

layers = keras.layers

VALUES = {
    "None": lambda: None,
    "-1": lambda: -1,
    "0": lambda: 0,
    "1": lambda: 1,
    "2**63": lambda: 2**63,
    "0.5": lambda: 0.5,
    "nan": lambda: float("nan"),
    "inf": lambda: float("inf"),
    "True": lambda: True,
    "empty": lambda: "",
    "nope": lambda: "nope",
    "bytes": lambda: b"a",
    "[]": list,
    "{}": dict,
    "object": object,
    "np.int64": lambda: np.int64(1),
    "np.float32": lambda: np.float32(0.5),
    "array": lambda: np.ones(2),
    "layer": lambda: layers.Dense(2),
    "model": lambda: small_model(),
    "class": lambda: layers.Dense,
}

COUNT = {"1", "np.int64"}
FLAG = {"True"}
FRACTION = {"0.5", "np.float32"}
# A callback meets its model later, which may have a layer of any name.
SELECTOR = {"None", "empty", "nope", "layer", "model"}

# What each argument takes of `VALUES`, in every function or in the one that is named.
LEGITIMATE = {
    "age": FRACTION | COUNT | {"0"},
    "axis": COUNT | {"None", "-1", "0", "2**63"},
    "batch_size": COUNT,
    "callbacks": set(),
    "compact": FLAG,
    "convert": set(),
    "criterion": {"None", "layer", "model"},  # Functions of one's own.
    "curve": FRACTION | COUNT,
    "data": set(),
    "dense": {"None", "[]"},
    "distribution": {"{}"},
    "embeddings": FLAG,
    "epochs": COUNT,
    "fit": set(),
    "fitness": {"layer", "model"},
    "folder": {"None", "nope"},
    "format": set(),
    "fraction": FRACTION | COUNT,
    "gather": FRACTION | COUNT | {"0"},
    "initial_epoch": {"0"} | COUNT,
    "inputs": {"None"},
    "interval": COUNT | {"None"},
    "iterations": COUNT | {"None"},
    "k": COUNT,
    "keep_masks": FLAG,
    "layer_class": {"class"},
    "layers": {"None"},
    "loss": {"None"},
    "m": set(),
    "masks": {"{}"},
    "measure": FLAG,
    "memory": FRACTION | COUNT | {"0"},
    "method": set(),
    "model": {"model"},
    "n": COUNT,
    "nonzeros": COUNT,
    "path": set(),
    "pattern": {"None"},
    "per_class": COUNT,
    "restarts": FRACTION | COUNT | {"0"},
    "rewind": FLAG,
    "rewind_to": {"0"} | COUNT,
    "rewind_unit": set(),
    "rounds": COUNT | {"None"},
    "schedule": {"layer", "model"},  # Functions of one's own.
    "seed": COUNT | {"0", "None"},
    "select": SELECTOR,
    "selection": set(),
    "skip_output": FLAG,
    "smallest": COUNT | {"None"},
    "sparsity": FRACTION | {"0"},
    "start_sparsity": FRACTION | {"0"},
    "steps": COUNT,
    "threshold": FRACTION | {"0"},
    "unit_axes": set(),
    "units": COUNT,
    "use_bias": FLAG,
    "verbose": COUNT | {"0", "True"},
    "x": set(),
    "y": set(),
    "DissipatingGradients.fraction": {"None"},
    "DissipatingGradients.distribution": {"{}", "None"},
    "RigL.interval": COUNT,
    **{
        f"{name}.epochs": COUNT | FRACTION
        for name in (
            "Combination",
            "DissipatingGradients",
            "GraNet",
            "GradualMagnitude",
            "OneShotMagnitude",
            "RigL",
            "SET",
        )
    },
    "prune.distribution": {"{}", "None"},
    "pruning_masks.distribution": {"{}", "None"},
    "remove_masks.model": set(),
    "restore_masks.model": set(),
    "to_dense.model": set(),
}


def small_model():
    model = keras.Sequential(
        [keras.Input((6,)), layers.Dense(4, name="a"), layers.Dense(3, name="b")]
    )
    model.compile("sgd", "mse", run_eagerly=True)
    return model


def masked_model():
    model = install_masks(small_model())
    set_masks(model, {"a/kernel": np.arange(24).reshape(6, 4) % 2})
    return model


def zeros_model():
    return keras_initprune.remove_masks(masked_model())


X, Y = np.ones((8, 6), "float32"), np.ones((8, 3), "float32")


def train(model, callbacks):
    model.fit(X, Y, verbose=0, callbacks=callbacks)


# What a public function runs with, beside `model`, `sparsity` and `data`.
VALID = {
    "MaskConstraint": lambda folder: {"shape": (2, 3)},
    "NOfM": lambda folder: {"n": 2, "m": 4},
    "SparseDense": lambda folder: {"units": 3, "nonzeros": 2},
    "class_balanced": lambda folder: {
        "x": X,
        "y": np.arange(8) % 2,
        "per_class": 2,
    },
    "compact": lambda folder: {"model": masked_model()},
    "export": lambda folder: {"path": folder / "model.keras"},
    "fit_sparse": lambda folder: {
        "x": X,
        "y": Y,
        "epochs": 2,
        "callbacks": [RandomPruning(0.5)],
        "verbose": 0,
    },
    "lottery_ticket": lambda folder: {
        "fit": train,
        "sparsity": 0.2,
        "rounds": 1,
        "verbose": 0,
    },
    "prune": lambda folder: {"method": "snip", "data": (X, Y)},
    "pruning_masks": lambda folder: {"method": "snip", "data": (X, Y)},
    "score_weights": lambda folder: {"method": "snip", "data": (X, Y)},
    "register_prunable": lambda folder: {"layer_class": Own, "weights": ("w",)},
    "remove_masks": lambda folder: {"model": masked_model()},
    "restore_masks": lambda folder: {"model": zeros_model()},
    "set_masks": lambda folder: {"model": masked_model(), "masks": {}},
    "to_dense": lambda folder: {
        "model": to_sparse(zeros_model(), threshold=0, smallest=1)
    },
}


class Own(layers.Layer):
    """A class that nothing else uses."""


def valid_arguments(name, folder):
    """Return arguments with which a public function runs."""
    parameters = inspect.signature(getattr(keras_initprune, name)).parameters
    given = VALID.get(name, lambda folder: {})(folder)
    if "sparsity" in parameters:
        given.setdefault("sparsity", 0.5)
    if "model" in parameters and "model" not in given:
        given["model"] = small_model()
    return given


def call(name, arguments):
    arguments = dict(arguments)
    weights = arguments.pop("weights", ())
    first = [arguments.pop(n) for n in ("layer_class",) if n in arguments]
    data = []
    if {"model", "x"} <= set(arguments):
        data = [arguments.pop(n) for n in ("model", "x", "y")]
    return getattr(keras_initprune, name)(*first, *weights, *data, **arguments)


def is_callback(name):
    value = getattr(keras_initprune, name)
    return inspect.isclass(value) and issubclass(value, keras.callbacks.Callback)


def cases():
    """Yield every argument of every public function, but for what Keras checks."""
    for name in keras_initprune.__all__:
        parameters = inspect.signature(getattr(keras_initprune, name)).parameters
        for argument, parameter in parameters.items():
            kinds = (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
            is_keras = argument.endswith(("initializer", "regularizer", "constraint"))
            if parameter.kind in kinds or is_keras or argument == "activation":
                continue
            if name != "MaskConstraint":
                yield name, argument


def legitimate(name, argument):
    if argument == "layers" and is_callback(name):
        return SELECTOR
    return LEGITIMATE.get(f"{name}.{argument}", LEGITIMATE[argument])


# An array of the wrong shape is what Keras complains of, when the model is called.
SHAPES = {("score_weights", "data"), ("prune", "data"), ("pruning_masks", "data")}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "argument"), list(cases()))
def test_a_wrong_argument_is_named(name, argument, tmp_path, monkeypatch):
    monkeypatch.setattr("keras_initprune.constraints.weights._REGISTERED", {})
    monkeypatch.chdir(tmp_path)
    for label, make in VALUES.items():
        if label == "array" and (name, argument) in SHAPES:
            continue
        arguments = {**valid_arguments(name, tmp_path), argument: make()}
        if label in legitimate(name, argument):
            call(name, arguments)
            continue
        with pytest.raises((ValueError, TypeError)) as caught:
            call(name, arguments)
        message = str(caught.value)
        assert re.search(rf"\b{argument}\b", message), (label, message)

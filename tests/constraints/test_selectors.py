"""`layers=` means the same wherever it is taken, and `Layers` says what it means."""

import dataclasses
import inspect
import json
import re

import keras
import pytest
from settings import OFFERED

import keras_initprune
from keras_initprune import (
    KStarts,
    Layers,
    RandomPruning,
    get_masks,
    install_masks,
    lottery_ticket,
    prune,
    report,
    sparsity,
    to_sparse,
)
from keras_initprune.callbacks.checks import describe
from keras_initprune.constraints.weights import prunable_weights
from keras_initprune.tuner import PruningSpace

OLD_ARGUMENTS = {"skip_output", "embeddings", "dense"}


@pytest.fixture
def model():
    """Two blocks of the same layers, a layer with brackets in its name, and a head."""
    blocks = [
        keras.Sequential(
            [keras.layers.Dense(4, name="inner"), keras.layers.Dense(4, name="outer")],
            name=name,
        )
        for name in ("block_1", "block_2")
    ]
    ends = [keras.layers.Dense(4, name="a[1]"), keras.layers.Dense(2, name="head")]
    model = keras.Sequential([keras.Input((4,)), *blocks, *ends])
    model.compile("sgd", "mse")
    return model


def chosen(model, *arguments, **keywords):
    return list(prunable_weights(model, *arguments, **keywords))


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("block_*", ["inner", "outer", "inner", "outer"]),
        ("block_[2]", ["inner", "outer"]),
        ("block_2/*", ["inner", "outer"]),
        ("*/inner/kernel", ["inner", "inner"]),
        ("inne?", ["inner", "inner"]),
        ("he*", ["head"]),
        (["he*", "block_1/inner/*"], ["inner", "head"]),
    ],
)
def test_a_pattern_matches_names_and_paths(model, pattern, expected):
    assert [path.split("/")[-2] for path in chosen(model, pattern)] == expected


def test_patterns_tell_upper_from_lower_case(model):
    with pytest.raises(ValueError, match=r"must match .* Received: layers='HEAD\*'"):
        chosen(model, "HEAD*")


def test_a_name_that_looks_like_a_pattern_is_a_name(model):
    assert chosen(model, "a[1]") == chosen(model, "a[[]1]") == ["a[1]/kernel"]


@pytest.mark.parametrize(
    "select",
    [
        None,
        "head",
        "block_*",
        re.compile("inner"),
        ["head", "block_1"],
        lambda weight: weight.size == 16,
    ],
)
def test_what_select_takes_can_be_given_as_layers(model, select):
    assert chosen(model, select) == chosen(model, Layers(select))


def test_its_parts_choose_together(model):
    both = Layers(["head", "a[1]"], skip_output=True)
    assert chosen(model, both) == ["a[1]/kernel"]
    with pytest.raises(ValueError, match="nothing left to prune"):
        chosen(model, Layers("head", skip_output=True))


@pytest.mark.tf_only
def test_every_function_counts_and_masks_the_same(model):
    layers = Layers("block_*", dense="first")
    expected = chosen(model, layers)
    assert [row.path for row in report(model, layers=layers).rows] == expected
    prune(model, "magnitude", 0.5, layers=layers)
    assert list(get_masks(model)) == expected
    assert get_masks(model)["block_1/inner/kernel"].all()
    assert sparsity(model, layers) == 0.5
    sparse = to_sparse(model, layers, threshold=0, smallest=1)
    assert {type(layer).__name__ for layer in sparse._flatten_layers()} >= {"Dense"}


def test_only_prune_keeps_layers_dense(model):
    layers = Layers(dense="last")
    for make in (
        lambda: RandomPruning(0.5, layers=layers),
        lambda: PruningSpace(layers=layers),
        lambda: lottery_ticket(model, lambda *_: None, 0.5, layers=layers),
    ):
        with pytest.raises(ValueError, match=r"`dense` out.* Received: dense=\('last'"):
            make()


@pytest.mark.parametrize("dense", ["middle", ["first", 1], 3, {"first": 1}, ""])
def test_what_is_no_end_is_refused(dense):
    with pytest.raises(ValueError, match=r"`dense` must be .* Received: dense="):
        Layers(dense=dense)


@pytest.mark.parametrize(
    "layers",
    [
        Layers(),
        Layers("block_*", skip_output=True),
        Layers(["head", re.compile("a")], embeddings=True, dense=["first", "last"]),
    ],
)
def test_it_shows_the_call_that_makes_it(layers):
    assert eval(repr(layers), {"Layers": Layers, "re": re}) == layers
    callback = KStarts(layers=dataclasses.replace(layers, dense=()))
    assert repr(callback.layers) in repr(callback)
    assert KStarts.from_config(callback.get_config()).get_config() == (
        callback.get_config()
    )


def small_tensors(weight):
    return weight.size < 10


def test_a_predicate_is_shown_by_its_name():
    assert "select=small_tensors," in repr(Layers(small_tensors))


@pytest.mark.parametrize(
    ("layers", "text"),
    [
        (None, None),
        ("block_*", "block_*"),
        (re.compile("a"), "re.compile('a')"),
        (small_tensors, "small_tensors"),
        (Layers("a"), repr(Layers("a"))),
    ],
)
def test_records_of_callbacks_hold_plain_values(layers, text):
    described = describe(RandomPruning(0.5, layers=layers))
    assert json.loads(json.dumps(described))["layers"] == text


def test_it_never_changes():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Layers().skip_output = True


def test_training_goes_on_with_the_same_layers_only(tmp_path, make_model):
    x, y = keras.ops.ones((8, 12)), keras.ops.ones((8, 3))

    def train(layers, epochs):
        callbacks = [
            keras.callbacks.BackupAndRestore(tmp_path, delete_checkpoint=False),
            KStarts(2, 0.5, epochs=2, seed=0, layers=layers),
        ]
        model = make_model()
        model.fit(x, y, epochs=epochs, verbose=0, callbacks=callbacks)
        return list(get_masks(model))

    hidden = ["hidden_1/kernel", "hidden_2/kernel"]
    assert train(Layers(skip_output=True), 2) == hidden
    with pytest.raises(ValueError, match="state of other pruning callbacks"):
        train(None, 3)
    assert train(Layers(skip_output=True), 3) == hidden


def test_no_other_argument_says_which_layers():
    names = [getattr(keras_initprune, name) for name in keras_initprune.__all__]
    for taker in {*names, PruningSpace, prunable_weights} - {Layers}:
        assert not OLD_ARGUMENTS & set(inspect.signature(taker).parameters), taker


@pytest.mark.parametrize("kind", OFFERED.values(), ids=OFFERED)
def test_help_names_every_argument_of_a_callback(kind):
    for argument in inspect.signature(kind).parameters:
        assert f"\n    {argument}: " in inspect.getdoc(kind)


def test_masks_that_are_there_are_taken_by_default(model):
    install_masks(model, Layers("block_1"))
    prune(model, "magnitude", 0.5, layers=Layers())
    assert list(get_masks(model)) == ["block_1/inner/kernel", "block_1/outer/kernel"]

"""A pruned weight stays zero: every way to write one, against every kind of model."""

import copy
import pickle
import warnings

import keras
import numpy as np
import pytest

from keras_initprune import (
    backend,
    find_leaks,
    get_masks,
    install_masks,
    prune,
    set_masks,
)

if keras.config.backend() == "tensorflow":
    import tensorflow as tf

layers = keras.layers
register = keras.saving.register_keras_serializable("tests")


@register
class Block(layers.Layer):
    """Makes its sublayers in `__init__`, as most layers of one's own do."""

    def __init__(self, units=6, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.inner = layers.Dense(units, activation="relu")
        self.listed = [layers.Dense(units), {"deep": layers.Dense(units)}]
        self.named = {"first": layers.Dense(units), "second": (layers.Dense(units),)}

    def _parts(self):
        yield from (self.inner, self.listed[0], self.listed[1]["deep"])
        yield from (self.named["first"], self.named["second"][0])

    def build(self, shape):
        for part in self._parts():
            part.build(shape)
            shape = (*shape[:-1], self.units)
        self.built = True

    def call(self, inputs):
        for part in self._parts():
            inputs = part(inputs)
        return inputs

    def get_config(self):
        return {**super().get_config(), "units": self.units}


@register
class AttentionWithGate(layers.MultiHeadAttention):
    """An attention layer with a layer of its own."""

    def build(self, query_shape, value_shape, key_shape=None):
        super().build(query_shape, value_shape, key_shape)
        self.gate = layers.Dense(query_shape[-1], name="gate")
        self.gate.build(query_shape)

    def call(self, query, value, key=None, **kwargs):
        return super().call(query, value, key, **kwargs) * self.gate(query)


@register
class Subclass(keras.Model):
    """A model that defines `call`."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.block = Block()
        self.head = layers.Dense(3)

    def call(self, inputs):
        return self.head(self.block(inputs))

    def build(self, shape):
        self.block.build(shape)
        self.head.build((*shape[:-1], 6))
        self.built = True


@register
class OwnStep(keras.Sequential):
    """A model with a `train_step` of its own and no optimizer of Keras'."""

    def train_step(self, data):
        x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(self(x, training=True) - y))
        variables = self.trainable_variables
        for variable, slope in zip(
            variables, tape.gradient(loss, variables), strict=True
        ):
            variable.assign_sub(0.1 * slope)
        return {"loss": loss}


def functional(*parts, shape=(8,)):
    tensor = inputs = keras.Input(shape)
    for part in parts:
        tensor = part(tensor)
    return keras.Model(inputs, tensor)


def with_attention(kind):
    inputs = keras.Input((8,))
    tokens = layers.Reshape((4, 2))(inputs)
    attended = kind(2, 3)(tokens, tokens)
    return keras.Model(inputs, layers.Dense(3)(layers.Flatten()(attended)))


def subclass():
    model = Subclass()
    model.build((None, 8))
    return model


def nested():
    inner = keras.Sequential([keras.Input((8,)), layers.Dense(6, activation="relu")])
    return functional(inner, layers.Dense(3))


def shared():
    twice = layers.Dense(8, activation="relu")
    return functional(twice, twice, layers.Dense(3))


MODELS = {
    "sequential": lambda: keras.Sequential(
        [keras.Input((8,)), layers.Dense(6, activation="relu"), layers.Dense(3)]
    ),
    "nested": nested,
    "shared": shared,
    "block": lambda: functional(Block(), layers.Dense(3)),
    "subclass": subclass,
    "attention": lambda: with_attention(layers.MultiHeadAttention),
    "attention_with_gate": lambda: with_attention(AttentionWithGate),
    "recurrent": lambda: functional(
        layers.Reshape((4, 2)), layers.Bidirectional(layers.LSTM(3)), layers.Dense(3)
    ),
    "convolutional": lambda: functional(
        layers.Reshape((4, 2)),
        layers.SeparableConv1D(4, 3),
        layers.BatchNormalization(),
        layers.Flatten(),
        layers.Dropout(0.1),
        layers.Dense(3),
    ),
    "own_step": lambda: OwnStep(
        [keras.Input((8,)), layers.Dense(6, activation="relu"), layers.Dense(3)]
    ),
}


def compiled(model, **arguments):
    arguments = {"optimizer": keras.optimizers.Adam(0.1), "loss": "mse", **arguments}
    model.compile(jit_compile=False, **arguments)
    return model


def dense(values):
    """Return what fills every weight but leaves masks as they are."""
    return [v if v.dtype == bool else v + np.ones_like(v) for v in values]


def fit(model, data):
    if not model.compiled:
        compiled(model)
    model.fit(*data, batch_size=16, epochs=2, verbose=0)
    return model


def step(model, data):
    x, y = data
    variables = model.trainable_variables

    def loss(values):
        pairs = [(v, values[str(at)]) for at, v in enumerate(variables)]
        with keras.StatelessScope(pairs):
            outputs = model(x, training=True)
        return keras.ops.mean(keras.ops.square(keras.ops.subtract(outputs, y))), None

    values = {str(at): keras.ops.copy(v.value) for at, v in enumerate(variables)}
    slopes = backend.value_and_gradients(loss, values)[2]
    model.optimizer.apply([slopes[name] for name in values], variables)


class Cell:
    """One cell of the matrix: a pruned model and what is needed to write to it."""

    def __init__(self, make, data, folder):
        self.make, self.data, self.folder = make, data, folder
        self.model = make()
        if not self.model.built:
            self.model(data[0][:1])

    def plain_file(self, name, **arguments):
        plain = self.make()
        plain.save_weights(self.folder / name, **arguments)
        return self.folder / name

    def saved(self, name, **arguments):
        self.model.save_weights(self.folder / name, **arguments)
        return self.folder / name


def variables(cell):
    for layer in cell.model._flatten_layers():
        for variable in layer._trainable_variables:
            variable.assign(variable + 1.0)
            variable.assign_add(np.ones(variable.shape))
            variable.assign_sub(np.full(variable.shape, 3.0))


def layers_set_weights(cell):
    for layer in cell.model.layers:
        layer.set_weights(dense(layer.get_weights()))


def saved_and_loaded(cell):
    cell.model.save(cell.folder / "model.keras")
    return fit(keras.models.load_model(cell.folder / "model.keras"), cell.data)


def loaded_into_a_fresh_model(cell, name="pruned.weights.h5", **arguments):
    fresh = cell.make()
    fresh.load_weights(cell.saved(name, **arguments))
    return fit(fresh, cell.data)


def cloned(cell):
    if isinstance(cell.model, Subclass):
        clone = cell.make()  # Keras clones no subclass.
    else:
        clone = keras.models.clone_model(cell.model)
    clone.set_weights(cell.model.get_weights())
    return fit(clone, cell.data)


def other_file(cell):
    """Save the weights of a network whose first layer alone fits none of ours."""
    other = functional(layers.Dense(7), layers.Dense(6), layers.Dense(3))
    other.save_weights(cell.folder / "other.weights.h5")
    return cell.folder / "other.weights.h5"


def refused_load(cell):
    before = cell.model.get_weights()
    path = other_file(cell)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ValueError, match="could not"):
            cell.model.load_weights(path)
    for old, new in zip(before, cell.model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def mismatch_skipped(cell):
    path = other_file(cell)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cell.model.load_weights(path, skip_mismatch=True)


def checkpoint(cell):
    path = tf.train.Checkpoint(model=cell.make()).save(cell.folder / "plain")
    tf.train.Checkpoint(model=cell.model).restore(path).expect_partial()


def outer_model(cell):
    """The pruned model is a part of another, which was traced before."""
    outer = compiled(functional(cell.model, layers.Dense(3)))
    outer.fit(*cell.data, verbose=0)
    prune_anew(cell.model)
    outer.fit(*cell.data, verbose=0)
    outer.train_on_batch(*cell.data)


def traced_before(cell):
    compiled(cell.model)
    cell.model.train_on_batch(*cell.data)
    prune_anew(cell.model)
    cell.model.train_on_batch(*cell.data)
    fit(cell.model, cell.data)


def graph_of_ones_own(cell):
    compiled(cell.model)
    cell.model.optimizer.build(cell.model.trainable_variables)
    traced = tf.function(lambda: step(cell.model, cell.data))
    traced()
    traced()


def steps_of_ones_own(cell):
    compiled(cell.model, optimizer=keras.optimizers.SGD(0.1, global_clipnorm=1.0))
    step(cell.model, cell.data)


def compiled_anew(cell):
    fit(cell.model, cell.data)
    compiled(cell.model, optimizer=keras.optimizers.SGD(0.1, 0.9))
    fit(cell.model, cell.data)


WAYS = {
    "variables": variables,
    "set_weights": lambda c: c.model.set_weights(dense(c.model.get_weights())),
    "set_plain_weights": lambda c: c.model.set_weights(c.make().get_weights()),
    "layers_set_weights": layers_set_weights,
    "load_plain_weights": lambda c: c.model.load_weights(
        c.plain_file("plain.weights.h5")
    ),
    "load_plain_shards": lambda c: c.model.load_weights(
        c.plain_file("plain.weights.json", max_shard_size=1e-6)
    ),
    "refused_load": refused_load,
    "mismatch_skipped": mismatch_skipped,
    "checkpoint": checkpoint,
    "saved_and_loaded": saved_and_loaded,
    "loaded_into_a_fresh_model": loaded_into_a_fresh_model,
    "loaded_from_shards": lambda c: loaded_into_a_fresh_model(
        c, "pruned.weights.json", max_shard_size=1e-6
    ),
    "cloned": cloned,
    "deep_copy": lambda c: fit(copy.deepcopy(c.model), c.data),
    "pickled": lambda c: fit(pickle.loads(pickle.dumps(c.model)), c.data),
    "fit": lambda c: fit(c.model, c.data),
    "outer_model": outer_model,
    "traced_before": traced_before,
    "graph_of_ones_own": graph_of_ones_own,
    "steps_of_ones_own": steps_of_ones_own,
    "compiled_anew": compiled_anew,
}
TF_WAYS = ("checkpoint", "graph_of_ones_own")
# Every way with one model, and every model with this way; the rest is the matrix.
FAST_WAY = "saved_and_loaded"
CELLS = [
    pytest.param(
        way,
        kind,
        marks=[
            *([pytest.mark.whole_matrix] * (kind != "block" and way != FAST_WAY)),
            *([pytest.mark.tf_only] * (way in TF_WAYS or kind == "own_step")),
        ],
    )
    for way in WAYS
    for kind in MODELS
]


def prune_anew(model):
    """Remove other weights than before."""
    rng = np.random.default_rng(1)
    install_masks(model)
    set_masks(
        model, {p: rng.random(m.shape) < 0.4 for p, m in get_masks(model).items()}
    )


@pytest.mark.backends("Masks hold whatever is written to a weight")
@pytest.mark.parametrize(("way", "kind"), CELLS)
def test_pruned_weights_stay_zero(way, kind, tmp_path, rng):
    data = (
        rng.normal(size=(32, 8)).astype("float32"),
        rng.normal(size=(32, 3)).astype("float32"),
    )
    cell = Cell(MODELS[kind], data, tmp_path)
    prune(cell.model, "random", 0.5, distribution="uniform", seed=0)
    masks = list(get_masks(cell.model).values())
    written = WAYS[way](cell) or cell.model
    assert find_leaks(written) == {}
    kept = list(get_masks(written).values())
    assert len(kept) == len(masks) >= 2
    if way not in ("outer_model", "traced_before"):
        for before, after in zip(masks, kept, strict=True):
            np.testing.assert_array_equal(before, after)
    assert all(0 < mask.mean() < 1 for mask in kept)

"""Which layers can lose whole units, and which lose them together."""

import keras
import pytest

from keras_initprune.constraints.weights import prunable_weights
from keras_initprune.graphs.units import unit_ties

layers = keras.layers


def ties_of(model):
    return unit_ties(model, prunable_weights(model))


def conv(filters, name, **arguments):
    return layers.Conv2D(filters, 3, padding="same", name=name, **arguments)


def test_what_is_added_up_shares_its_units():
    inputs = keras.Input((8, 8, 3))
    stem = layers.ReLU()(layers.BatchNormalization()(conv(4, "stem")(inputs)))
    x = layers.ReLU()(conv(4, "inner")(stem))
    x = layers.BatchNormalization()(conv(4, "outer")(x))
    x = layers.MaxPooling2D()(layers.Add()([stem, x]))
    x = layers.Flatten()(layers.DepthwiseConv2D(3, name="depthwise")(x))
    model = keras.Model(inputs, layers.Dense(2, name="output")(x))
    assert ties_of(model) == {
        "stem/kernel": "stem/kernel",
        "inner/kernel": "inner/kernel",
        "outer/kernel": "stem/kernel",
    }


def test_gates_share_the_units_of_what_they_scale():
    inputs = keras.Input((8, 8, 3))
    x = conv(4, "scaled")(inputs)
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = layers.Conv2D(4, 1, activation="sigmoid", name="gate")(gate)
    x = layers.GlobalAveragePooling2D()(x * gate)
    model = keras.Model(inputs, layers.Dense(2, name="output")(x))
    ties = ties_of(model)
    assert ties["scaled/kernel"] == ties["gate/kernel"]


@pytest.mark.parametrize(
    "tail",
    [
        [layers.Dense(4, name="output")],
        [layers.Dense(4, name="output"), layers.Softmax()],
        [layers.Dense(4, name="output"), layers.Reshape((2, 2))],
        [layers.Dense(4, name="output"), layers.BatchNormalization()],
    ],
    ids=["plain", "softmax", "reshaped", "normalised"],
)
def test_what_the_model_returns_stays(tail):
    model = keras.Sequential([keras.Input((6,)), layers.Dense(3, name="in"), *tail])
    assert set(ties_of(model)) == {"in/kernel"}


def test_what_is_added_to_an_input_stays():
    inputs = keras.Input((6,))
    x = layers.Add()([inputs, layers.Dense(6, name="stays")(inputs)])
    x = layers.Dense(5, name="goes")(x)
    model = keras.Model(inputs, layers.Dense(1, name="output")(x))
    assert set(ties_of(model)) == {"goes/kernel"}


def test_units_of_nested_models_go_but_for_what_these_return():
    inner = [keras.Input((6,)), layers.Dense(5, name="goes"), layers.Dense(4, name="i")]
    nested = keras.Sequential(inner, name="nested")
    model = keras.Sequential([keras.Input((6,)), nested, layers.Dense(2)])
    assert set(ties_of(model)) == {"nested/goes/kernel"}


def test_layers_that_cannot_lose_units_are_left_out():
    inputs = keras.Input((6, 4))
    shared = layers.Dense(4, name="shared")
    x = shared(shared(inputs))
    x = layers.LSTM(4, name="recurrent")(x)
    x = layers.Dense(8, name="goes")(x)
    model = keras.Model(inputs, layers.Dense(2, name="output")(x))
    assert set(ties_of(model)) == {"goes/kernel"}


def test_without_any_units_to_go_it_is_refused():
    model = keras.Sequential([keras.Input((6,)), layers.Dense(2, name="output")])
    with pytest.raises(ValueError, match=r"no units that can be.*'output/kernel'"):
        ties_of(model)


def test_subclasses_are_refused():
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(2)

        def build(self, input_shape):
            self.dense.build(input_shape)

        def call(self, inputs):
            return self.dense(inputs)

    model = Own()
    model.build((None, 3))
    with pytest.raises(ValueError, match="needs a Sequential or Functional model"):
        ties_of(model)

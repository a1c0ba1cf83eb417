import keras
import numpy as np
import pytest

from keras_initprune import (
    Layers,
    install_masks,
    prune,
    sparsity,
    summary,
    to_sparse,
)

layers = keras.layers


def lines_of(model):
    return [line.split() for line in str(summary(model)).splitlines()]


@pytest.fixture
def nested():
    encoder = keras.Sequential(
        [keras.Input((4,)), layers.Dense(8, name="dense")], name="encoder"
    )
    inputs = keras.Input((4,))
    outputs = layers.BatchNormalization(name="norm")(encoder(inputs))
    head = layers.Dense(4, use_bias=False, name="head")
    return keras.Model(inputs, head(encoder(head(outputs))), name="net")


def test_layers_are_counted_once_and_masks_are_no_parameters(nested):
    prune(nested, "magnitude", 0.5, distribution="uniform")
    found = summary(nested)
    assert [(e.path, e.type, e.parameters, e.kept) for e in found.layers] == [
        ("encoder/dense", "Dense", 32 + 8, 16 + 8),
        ("norm", "BatchNormalization", 4 * 8, 4 * 8),
        ("head", "Dense", 32, 16),
    ]
    assert [entry.sparsity for entry in found.layers] == [0.5, None, 0.5]
    assert found.total.sparsity == sparsity(nested)
    # As `model.summary()` counts them, masks make the difference.
    assert found.total.masked == nested.count_params() - found.total.parameters
    assert found.trainable == found.total.parameters - 2 * 8


def test_it_says_which_layers_carry_a_mask(nested):
    install_masks(nested, layers="head")
    assert lines_of(nested)[2:6] == [
        ["encoder/dense", "Dense", "40", "40", "0.00%"],
        ["norm", "BatchNormalization", "32", "32", "-"],
        ["head", "Dense", "32", "32", "0.00%", "yes"],
        ["all", "104", "104", "0.00%", "yes"],
    ]
    assert "Masks take 32 bytes" in str(summary(nested))


def test_a_model_without_masks_says_nothing_of_them(nested):
    assert "asks take" not in str(summary(nested))


def test_embeddings_count_once_they_carry_a_mask():
    model = keras.Sequential(
        [keras.Input((3,), dtype="int32"), layers.Embedding(4, 2), layers.Dense(1)]
    )
    assert [entry.sparsity for entry in summary(model).layers] == [None, 0.0]
    install_masks(model, layers=Layers(embeddings=True))
    assert [entry.sparsity for entry in summary(model).layers] == [0.0, 0.0]


@pytest.mark.tf_only
def test_sparse_layers_count_as_the_dense_ones_that_they_stand_for(make_model):
    model = prune(make_model(), "magnitude", 0.9)
    sparse = summary(to_sparse(model, smallest=1, threshold=0.5))
    assert sparse.layers == summary(model).layers


class WithWeights(keras.Model):
    """A subclass with a weight that belongs to none of its layers."""

    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(2)
        self.scale = self.add_weight(shape=(2,), name="scale")

    def call(self, inputs):
        return self.scale * self.dense(inputs)


def test_weights_of_the_model_itself_are_counted():
    model = WithWeights()
    model(np.zeros((1, 3)))
    assert [entry.parameters for entry in summary(model).layers] == [8, 2]
    assert summary(model).total.parameters == model.count_params()


def test_it_fits_80_columns_and_notebooks(nested):
    nested.get_layer("head").name = "<i>" + 90 * "a"
    assert max(map(len, str(summary(nested)).splitlines())) <= 80
    prune(nested, "random", 0.5)
    page = summary(nested)._repr_html_()
    assert "&lt;i&gt;" in page
    assert "<code>model.summary()</code>" in page
    assert repr(summary(nested)) == str(summary(nested))


def test_a_model_that_is_not_built_is_refused():
    with pytest.raises(ValueError, match="not built"):
        summary(keras.Sequential([layers.Dense(2)]))

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from keras_initprune.constraints.layers import Layers
from keras_initprune.constraints.weights import prunable_weights
from keras_initprune.reports.report import report, sparsity


def perceptron():
    """3-3-2; the middle hidden unit has no outputs, the last one no inputs."""
    model = keras.Sequential(
        [
            keras.Input((3,)),
            layers.Dense(3, activation="relu", name="hidden"),
            layers.Dense(2, name="output"),
        ]
    )
    model.get_layer("hidden").kernel.assign([[1, 1, 0], [1, 1, 0], [0, 1, 0]])
    model.get_layer("output").kernel.assign([[-1, 2], [0, 0], [3, 0]])
    return model


def uses(*inner, shape, **arguments):
    """How often each weight is used, from the FLOPs."""
    model = keras.Sequential([keras.Input(shape), *inner])
    rows = report(model, **arguments).rows
    return [row.flops_dense // (2 * row.parameters) for row in rows]


class TestCounts:
    def test_rows(self):
        hidden, output = report(perceptron()).rows
        assert (hidden.path, hidden.shape) == ("hidden/kernel", (3, 3))
        assert (hidden.parameters, hidden.kept, hidden.effective) == (9, 5, 2)
        assert (output.parameters, output.kept, output.effective) == (6, 3, 2)
        assert hidden.sparsity == pytest.approx(4 / 9)
        assert hidden.effective_sparsity == pytest.approx(7 / 9)
        assert (hidden.flops_dense, hidden.flops_sparse) == (18, 10)
        assert (output.flops_dense, output.flops_sparse) == (12, 6)

    def test_totals(self):
        counts = report(perceptron())
        assert (counts.parameters, counts.kept, counts.effective) == (15, 8, 4)
        assert counts.sparsity == pytest.approx(7 / 15)
        assert counts.effective_sparsity == pytest.approx(11 / 15)
        assert (counts.flops_dense, counts.flops_sparse) == (30, 16)
        assert counts.total_parameters == 20
        assert counts.total_sparsity == pytest.approx(7 / 20)

    def test_a_training_step_is_three_passes(self):
        counts = report(perceptron())
        rows = [(r.training_flops_dense, r.training_flops_sparse) for r in counts.rows]
        assert rows == [(54, 30), (36, 18)]
        assert (counts.training_flops_dense, counts.training_flops_sparse) == (90, 48)

    def test_dense_gradients_cost_where_they_are_needed(self):
        # In every second step the 15 weights' gradients, not only those of the 8 kept.
        assert report(perceptron()).average_training_flops(2) == 48 + (30 - 16) / 2
        with pytest.raises(ValueError, match="`dense_gradient_interval`"):
            report(perceptron()).average_training_flops(0)

    def test_what_is_not_trained_counts_and_masks_do_not(self):
        model = keras.Sequential([keras.Input((3,)), layers.Dense(2)])
        model.add(layers.BatchNormalization())
        assert report(model).total_parameters == 6 + 2 + 8
        constraints = pytest.importorskip("keras_initprune.constraints")
        constraints.install_masks(model)
        assert report(model).total_parameters == 6 + 2 + 8

    def test_embeddings_count_on_request_and_cost_nothing(self):
        model = keras.Sequential(
            [
                keras.Input((3,), dtype="int32"),
                layers.Embedding(4, 2, name="table"),
                layers.Dense(1, name="output"),
            ]
        )
        assert [row.path for row in report(model).rows] == ["output/kernel"]
        table, output = report(model, layers=Layers(embeddings=True)).rows
        assert (table.parameters, table.flops_dense) == (8, 0)
        assert output.flops_dense == 2 * 2 * 3


class TestUses:
    def test_convolutions(self):
        assert uses(layers.Conv2D(4, 3), shape=(6, 5, 2)) == [4 * 3]
        assert uses(layers.Conv2D(4, 3, padding="same"), shape=(6, 5, 2)) == [6 * 5]
        assert uses(layers.Conv2D(4, 3, strides=2), shape=(7, 7, 2)) == [3 * 3]
        assert uses(layers.Conv1D(4, 3, dilation_rate=2), shape=(9, 2)) == [5]
        assert uses(layers.DepthwiseConv2D(3), shape=(6, 5, 2)) == [4 * 3]
        assert uses(layers.SeparableConv1D(4, 3), shape=(6, 2)) == [4, 4]
        # A transposed convolution spreads every input position.
        assert uses(layers.Conv2DTranspose(4, 3, strides=2), shape=(6, 5, 2)) == [30]

    def test_sequences(self):
        assert uses(layers.Dense(4), shape=(5, 2)) == [5]
        assert uses(layers.LSTM(4), shape=(5, 2)) == [5, 5]
        assert uses(layers.GRU(4, unroll=True), shape=(5, 2)) == [5, 5]
        bidirectional = layers.Bidirectional(layers.SimpleRNN(3))
        assert uses(bidirectional, shape=(5, 2)) == [5] * 4
        distributed = layers.TimeDistributed(layers.Conv1D(2, 2))
        assert uses(distributed, shape=(5, 4, 2)) == [5 * 3]

    def test_einsum(self):
        assert uses(layers.EinsumDense("abd,de->abe", (5, 4)), shape=(5, 2)) == [5]
        # Every position has weights of its own.
        assert uses(layers.EinsumDense("abd,bde->abe", (5, 4)), shape=(5, 2)) == [1]

    def test_attention(self):
        inputs, memory = keras.Input((5, 4)), keras.Input((7, 4))
        outputs = layers.MultiHeadAttention(2, 3)(inputs, memory)
        rows = report(keras.Model([inputs, memory], outputs)).rows
        found = {row.path.split("/")[-2]: row.flops_dense // 2 // 24 for row in rows}
        assert found == {"query": 5, "key": 7, "value": 7, "attention_output": 5}

    def test_shared_layer_counts_at_every_call(self):
        shared = layers.Dense(3)
        assert uses(shared, layers.ReLU(), shared, shape=(3,)) == [2]

    def test_open_sizes_need_inputs(self):
        model = keras.Sequential([keras.Input((None, 2)), layers.Dense(3)])
        counts = report(model)
        assert counts.flops_dense is None
        assert counts.flops_sparse is None
        assert "FLOPs" not in str(counts)
        assert '<td style="text-align: right">-</td>' in counts._repr_html_()
        assert report(model, np.zeros((1, 9, 2))).flops_dense == 2 * 6 * 9

    @pytest.mark.parametrize("batch", [1, 2, 5])
    def test_batch_size_does_not_matter(self, batch):
        x = np.zeros((batch, 5, 2))
        assert uses(layers.LSTM(4), shape=(5, 2), inputs=x) == [5, 5]


class TestSparsity:
    def test_counts_exact_zeros(self):
        model = perceptron()
        assert sparsity(model) == pytest.approx(7 / 15)
        assert sparsity(model, "output") == pytest.approx(3 / 6)
        assert sparsity(model, Layers(skip_output=True)) == pytest.approx(4 / 9)

    def test_small_numbers_are_not_zero(self):
        model = keras.Sequential(
            [keras.Input((2,)), layers.Dense(2, dtype="float64", use_bias=False)]
        )
        model.layers[0].kernel.assign([[1e-300, 0], [-1e-200, 1]])
        assert sparsity(model) == 0.25
        assert report(model).sparsity == 0.25

    def test_embeddings(self):
        model = keras.Sequential(
            [keras.Input((3,), dtype="int32"), layers.Embedding(4, 2), layers.Dense(2)]
        )
        model.layers[0].embeddings.assign(np.zeros((4, 2)))
        assert sparsity(model) == 0
        assert sparsity(model, Layers(embeddings=True)) == pytest.approx(8 / 12)


def test_as_dict_is_plain():
    counts = report(perceptron())
    plain = json.loads(json.dumps(counts.as_dict()))
    assert plain == counts.as_dict()
    assert plain["kept"] == 8
    assert plain["rows"][0]["shape"] == [3, 3]


def test_table():
    lines = str(report(perceptron())).splitlines()
    assert [line.split() for line in lines[2:5]] == [
        ["hidden/kernel", "3x3", "9", "5", "44.44%", "2"],
        ["output/kernel", "3x2", "6", "3", "50.00%", "2"],
        ["all", "15", "8", "46.67%", "4"],
    ]
    assert lines[6] == (
        "13 of all 20 parameters are kept (sparsity 35.00%), masks not counted."
    )
    assert lines[7].startswith("FLOPs of one example: 16 of 30;")


def test_a_table_fits_80_columns_whatever_the_names():
    model = keras.Sequential([keras.Input((1024,)), layers.Dense(4096, name=40 * "ab")])
    inner = keras.Sequential(
        [keras.Input((4096,)), layers.Dense(2, name="attention_output")],
        name="transformer_block_with_a_long_name",
    )
    model.add(inner)
    text = str(report(model))
    assert max(map(len, text.splitlines())) <= 80
    # Nothing is cut off: names go on in the next line.
    names = "".join(line[:22].strip() for line in text.splitlines()[2:])
    assert 40 * "ab" + "/kernel" in names
    assert inner.name + "/attention_output/kernel" in names


def test_a_notebook_shows_html_with_all_columns():
    model = perceptron()
    model.get_layer("hidden").name = "<b>"
    page = report(model)._repr_html_()
    assert "&lt;b&gt;/kernel" in page
    assert page.count("<tr>") == 1 + 2 + 1
    assert "sparse training FLOPs" in page
    assert repr(report(model)) == str(report(model))


def test_training_goes_on_without_retracing(make_model, regression_data):
    traces = []

    class Traced(keras.losses.MeanSquaredError):
        def call(self, y_true, y_pred):
            traces.append(1)
            return super().call(y_true, y_pred)

    model = make_model()
    model.compile("adam", Traced())
    model.fit(*regression_data, verbose=0)
    count = len(traces)
    assert report(model).parameters == sum(
        weight.size for weight in prunable_weights(model).values()
    )
    model.fit(*regression_data, verbose=0)
    assert len(traces) == count
    assert not tf.config.functions_run_eagerly()

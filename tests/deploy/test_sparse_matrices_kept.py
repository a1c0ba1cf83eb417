"""TensorFlow keeps matrices of sparse layers between predictions, and frees them."""

import gc

import numpy as np
import pytest
import tensorflow as tf

from keras_initprune import install_masks, set_masks
from keras_initprune.constraints.weights import prunable_weights
from keras_initprune.deploy.sparse import tf_products
from keras_initprune.deploy.sparse.conversion import to_sparse as convert
from keras_initprune.deploy.sparse.layer import SparseDense

pytestmark = pytest.mark.tf_only


@pytest.fixture
def sparse(make_model, rng):
    """Return a function that makes a model of sparse layers alone."""

    def make():
        model = install_masks(make_model())
        set_masks(
            model,
            {p: rng.random(w.shape) < 0.4 for p, w in prunable_weights(model).items()},
        )
        return convert(model, threshold=0.0, smallest=1)

    return make


@pytest.fixture
def keeps_matrices():
    if not tf_products.keeps_matrices():
        pytest.skip("Matrices are kept on CPUs alone.")


def is_kept(name):
    return bool(tf.raw_ops.LookupTableSizeV2(table_handle=tf_products._table(name)))


@pytest.mark.usefixtures("keeps_matrices")
def test_a_kept_matrix_is_freed_with_its_layer():
    layer = SparseDense(2, 2)
    layer.build((None, 2))
    layer.assign_kernel(np.eye(2))
    layer(np.ones((1, 2), "float32"))
    name = layer._cache_name
    assert is_kept(name)
    # Even in the midst of a graph, to which it must not add.
    with tf.Graph().as_default() as graph:
        del layer
        gc.collect()
        assert not graph.get_operations()
    assert not is_kept(name)


@pytest.mark.usefixtures("keeps_matrices")
def test_matrices_are_kept_wherever_a_model_predicts(sparse, regression_data):
    x, y = regression_data
    for use in (
        lambda model: model.evaluate(x, y, verbose=0),
        tf.function(lambda model: model(x, training=False)),
    ):
        model = sparse()
        names = [layer._cache_name for layer in model.layers]
        assert not any(map(is_kept, names))
        use(model)
        assert all(map(is_kept, names))


def test_a_saved_model_predicts_beside_the_one_that_it_was(
    sparse, regression_data, tmp_path
):
    model = sparse()
    x = regression_data[0]
    before = np.array(model(x))
    model.export(tmp_path, verbose=False)
    exported = tf.saved_model.load(tmp_path)
    layer = model.layers[-1]
    layer.values.assign(layer.values * 2)
    for _ in range(2):
        np.testing.assert_allclose(exported.serve(x), before, atol=1e-5)
        np.testing.assert_allclose(model(x), 2 * before, atol=1e-5)
    nodes = exported.serve.concrete_functions[0].graph.as_graph_def().node
    names = [n.attr["shared_name"].s for n in nodes if n.op == "MutableHashTableV2"]
    assert len(names) == (3 if tf_products.keeps_matrices() else 0)
    assert all(map(is_kept, names))

"""`keras.distribution` on JAX: `conftest.py` has it divide the CPU into two devices."""

import json

import keras
import pytest
import reference
from reference import numbers, perceptron
from test_every_backend import assert_trains_within_its_masks

from keras_initprune import find_leaks, prune

pytestmark = pytest.mark.jax_only("`keras.distribution`: data and model parallel")


@pytest.fixture(params=["data", "model"])
def distribution(request):
    """Distribute batches, or the units of the first layer, over two devices."""
    devices = keras.distribution.list_devices("cpu")
    assert len(devices) == 2
    if request.param == "data":
        distribution = keras.distribution.DataParallel(devices=devices)
    else:
        mesh = keras.distribution.DeviceMesh((1, 2), ("batch", "units"), devices)
        layouts = keras.distribution.LayoutMap(mesh)
        layouts["hidden_1/kernel"] = (None, "units")
        distribution = keras.distribution.ModelParallel(
            layout_map=layouts, batch_dim_name="batch"
        )
    keras.distribution.set_distribution(distribution)
    yield distribution
    keras.distribution.set_distribution(None)


def test_masks_hold_on_two_devices(distribution):
    model = perceptron(jit_compile=True)
    assert len(model.layers[0].kernel.value.devices()) == 2
    assert_trains_within_its_masks(model)
    model.layers[0].kernel.assign(numbers(12, 16, seed=0))
    assert find_leaks(model) == {}


def test_callbacks_gather_gradients_of_the_whole_batch(distribution):
    written = json.loads(reference.FILE.read_text())
    for name in ("RigL", "DissipatingGradients, gradients"):
        assert reference.to_text(reference.callback_masks(name)) == written[name]


def test_criteria_score_a_distributed_model(distribution):
    model = perceptron()
    prune(model, "snip", 0.5, reference.data(), seed=0)
    assert find_leaks(model) == {}

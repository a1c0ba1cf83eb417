import itertools

import keras
import numpy as np
import pytest

from keras_initprune import Layers, get_masks, install_masks, set_masks
from keras_initprune.constraints.weights import prunable_weights
from keras_initprune.research.lottery import lottery_ticket

SIZE = 12 * 16 + 16 * 8 + 8 * 3
STEPS = 4  # An epoch of 64 examples in batches of 16.


def kernels(model):
    return {path: weight.numpy() for path, weight in prunable_weights(model).items()}


@pytest.fixture
def model(make_model):
    return make_model(keras.optimizers.Adam(0.01), run_eagerly=True)


@pytest.fixture
def make_fit(regression_data):
    """Return a function that makes a `fit`, which keeps how every round began."""

    def make(epochs=1, fail_in=None, **arguments):
        starts = []

        def fit(model, callbacks):
            if len(starts) == fail_in:
                raise KeyboardInterrupt
            starts.append((kernels(model), int(model.optimizer.iterations.numpy())))
            return model.fit(
                *regression_data,
                batch_size=16,
                epochs=epochs,
                verbose=0,
                shuffle=False,
                callbacks=callbacks,
                **arguments,
            )

        fit.starts = starts
        return fit

    return make


def test_rounds_prune_geometrically_and_rewind_to_the_start(model, make_fit, capsys):
    initial, fit = kernels(model), make_fit()
    tickets = lottery_ticket(model, fit, sparsity=0.875, rounds=3)
    kept = [sum(int(m.sum()) for m in r.masks.values()) for r in tickets.rounds]
    assert kept == [SIZE, SIZE // 2, SIZE // 4, SIZE // 8]
    for ticket, (start, step) in zip(tickets.rounds, fit.starts, strict=True):
        assert step == 0
        for path, mask in ticket.masks.items():
            assert (start[path] == np.where(mask, initial[path], 0)).all()
    for before, after in itertools.pairwise(tickets.rounds):
        assert not any((after.masks[p] & ~before.masks[p]).any() for p in initial)
    assert int(model.optimizer.iterations.numpy()) == STEPS
    lines = capsys.readouterr().out.splitlines()
    assert lines[3].startswith("Round 3 of 3: kept 43 of 344 weights (sparsity 0.8750)")
    assert lines[3].endswith("about 0 s left")


def test_the_smallest_trained_weights_go(model, make_fit):
    tickets = lottery_ticket(model, make_fit(), sparsity=0.5, rounds=1, verbose=0)
    trained = tickets.restore(model, 0, trained=True)
    sizes = {path: abs(value) for path, value in kernels(trained).items()}
    masks = tickets.rounds[1].masks
    kept = np.concatenate([sizes[path][masks[path]] for path in masks])
    removed = np.concatenate([sizes[path][~masks[path]] for path in masks])
    assert kept.min() >= removed.max()


@pytest.mark.parametrize(("rewind_to", "unit"), [(3, "step"), (1, "epoch")])
def test_later_rounds_begin_and_end_where_the_first_was(
    rewind_to, unit, model, make_fit, regression_data
):
    initial = model.get_weights()
    fit = make_fit(epochs=2)
    tickets = lottery_ticket(model, fit, 0.5, 2, rewind_to, unit, verbose=0)
    steps = rewind_to if unit == "step" else STEPS
    assert [step for _, step in fit.starts] == [0, steps, steps]
    # The last round trains for what was left of the first.
    assert int(model.optimizer.iterations.numpy()) == 2 * STEPS
    other = keras.models.clone_model(model)
    other = install_masks(other)
    set_masks(other, {path: np.ones_like(m) for path, m in get_masks(other).items()})
    for weight, value in zip(other.trainable_weights, initial, strict=True):
        weight.assign(value)
    other.compile(keras.optimizers.Adam(0.01), "mse", run_eagerly=True)
    x, y = (array[: 16 * steps] for array in regression_data)
    other.fit(x, y, batch_size=16, shuffle=False, verbose=0)
    for path, mask in tickets.rounds[1].masks.items():
        expected = np.where(mask, kernels(other)[path], 0)
        assert np.allclose(fit.starts[1][0][path], expected, atol=1e-6)


def test_a_killed_lottery_goes_on_from_its_folder(make_model, make_fit, tmp_path):
    def lottery(folder, fit, seed=1):
        model = make_model("adam", run_eagerly=True)
        if seed != 1:
            for weight in model.trainable_weights:
                weight.assign(np.random.default_rng(seed).normal(size=weight.shape))
        tickets = lottery_ticket(
            model, fit, 0.875, 3, rewind_to=2, folder=folder, verbose=0
        )
        return tickets, model

    whole, model = lottery(tmp_path / "whole", make_fit())
    with pytest.raises(KeyboardInterrupt):
        lottery(tmp_path / "killed", make_fit(fail_in=2))
    fit = make_fit()
    # The new process may begin with other weights: those of the folder count.
    resumed, other = lottery(tmp_path / "killed", fit, seed=2)
    assert len(fit.starts) == 2
    for first, second in zip(whole.rounds, resumed.rounds, strict=True):
        assert all((first.masks[p] == second.masks[p]).all() for p in first.masks)
    for first, second in zip(model.get_weights(), other.get_weights(), strict=True):
        assert (first == second).all()
    assert resumed.rounds[0].result["loss"] == whole.rounds[0].result.history["loss"]
    # Nothing is left to do, and the model is what the last round trained to.
    again, third = lottery(tmp_path / "killed", make_fit(fail_in=0), seed=3)
    assert len(again.rounds) == 4
    assert (third.get_weights()[0] == model.get_weights()[0]).all()
    assert all(path.name[0] != "." for path in (tmp_path / "killed").iterdir())


def test_tickets_are_restored_into_a_new_model(make_model, model, make_fit):
    fit = make_fit()
    tickets = lottery_ticket(model, fit, 0.75, 2, verbose=0)
    other = make_model("adam", run_eagerly=True)
    tickets.restore(other, 1)
    for path, mask in tickets.rounds[1].masks.items():
        assert (get_masks(other)[path] == mask).all()
        assert (kernels(other)[path] == fit.starts[1][0][path]).all()
    tickets.restore(other, 2, trained=True)
    assert (other.get_weights()[0] == model.get_weights()[0]).all()
    small = keras.Sequential([keras.Input((12,)), keras.layers.Dense(3)])
    small.compile("adam", "mse")
    with pytest.raises(ValueError, match="`layers` must match"):
        tickets.restore(small, 1)


def test_embeddings_take_part_on_request():
    model = keras.Sequential(
        [
            keras.Input((2,), dtype="int32"),
            keras.layers.Embedding(4, 3),
            keras.layers.Flatten(),
            keras.layers.Dense(2),
        ]
    )
    model.compile("sgd", "mse", run_eagerly=True)

    def fit(model, callbacks):
        model.fit(np.ones((4, 2)), np.ones((4, 2)), verbose=0, callbacks=callbacks)

    every = Layers(embeddings=True)
    tickets = lottery_ticket(model, fit, 0.5, 1, layers=every, verbose=0)
    assert [mask.shape for mask in get_masks(model).values()] == [(4, 3), (6, 2)]
    assert sum(mask.sum() for mask in tickets.rounds[-1].masks.values()) == 12


def test_distributions_and_layers(model, make_fit):
    tickets = lottery_ticket(
        model,
        make_fit(1),
        0.75,
        2,
        distribution="uniform",
        layers=Layers(skip_output=True),
        verbose=0,
    )
    counts = [[int(m.sum()) for m in r.masks.values()] for r in tickets.rounds]
    assert counts == [[192, 128], [96, 64], [48, 32]]


def test_a_fifth_goes_in_every_round_by_default(model, make_fit):
    tickets = lottery_ticket(model, make_fit(1), 0.35, verbose=0)
    assert len(tickets.rounds) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sparsity": 1.0}, "`sparsity` is the fraction"),
        ({"rounds": 0}, "`rounds` must be an integer"),
        ({"rounds": SIZE + 1}, f"`rounds` must not exceed the {SIZE} weights"),
        ({"fit": None}, "`fit` must be a function"),
        ({"rewind_to": -1}, "`rewind_to` must be an integer"),
        ({"rewind_unit": "batch"}, "`rewind_unit` must be one of 'epoch', 'step'"),
        ({"distribution": "even"}, "`distribution` must be one of"),
        ({"rewind_to": 9}, r"`rewind_to` must lie within .* 4 steps\. .*rewind_to=9"),
        ({"fit": lambda model, callbacks: None}, "`fit` must hand its second argument"),
    ],
)
def test_bad_requests_are_refused(arguments, message, model, make_fit):
    arguments = {"fit": make_fit(1), "sparsity": 0.5, "rounds": 1, **arguments}
    with pytest.raises(ValueError, match=message):
        lottery_ticket(model, verbose=0, **arguments)


@pytest.mark.tf_only  # PyTorch takes one step at a time.
def test_models_that_cannot_begin_are_refused(make_model, make_fit):
    with pytest.raises(ValueError, match="`model` must be compiled"):
        lottery_ticket(make_model(compiled=False), make_fit(), 0.5, 1)
    model = install_masks(make_model())
    set_masks(model, {"hidden_1/kernel": np.eye(12, 16)})
    with pytest.raises(ValueError, match="`model` must be dense"):
        lottery_ticket(model, make_fit(), 0.5, 1)
    model = make_model(steps_per_execution=4)
    with pytest.raises(ValueError, match="`rewind_to` must be a multiple"):
        lottery_ticket(model, make_fit(), 0.5, 1, rewind_to=3)


def test_folders_of_other_lotteries_and_damaged_files(make_model, make_fit, tmp_path):
    def lottery(sparsity):
        model = make_model("sgd", run_eagerly=True)
        return lottery_ticket(
            model, make_fit(1), sparsity, 1, folder=tmp_path, verbose=0
        )

    lottery(0.5)
    with pytest.raises(ValueError, match=r"holds the rounds of another .* 0\.5"):
        lottery(0.75)
    path = tmp_path / "round_000.npz"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"round_000\.npz is damaged"):
        lottery(0.5)


def test_results_that_cannot_be_stored_lose_nothing(make_model, make_fit, tmp_path):
    inner = make_fit(1)

    def fit(model, callbacks):
        inner(model, callbacks)
        return object()

    model = make_model("sgd", run_eagerly=True)
    with pytest.warns(UserWarning, match="What `fit` returned is not stored"):
        lottery_ticket(model, fit, 0.5, 1, folder=tmp_path, verbose=0)
    assert (tmp_path / "round_001.npz").exists()

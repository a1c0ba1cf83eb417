"""What a search may vary, what it looks for, and what it refuses; without training."""

import keras
import keras_tuner
import numpy as np
import pytest

from keras_initprune import (
    Combination,
    DissipatingGradients,
    KStarts,
    RandomPruning,
    plots,
)
from keras_initprune.tuner import (
    AccuracyAtSparsity,
    ParetoFront,
    PruningHyperModel,
    PruningSpace,
    SparsityWithinTolerance,
    objectives,
    strategies,
    workers,
)


def build(hp):
    units = hp.Choice("units", [4, 6])
    layers = [keras.Input((5,)), keras.layers.Dense(units), keras.layers.Dense(2)]
    model = keras.Sequential(layers)
    model.compile("adam", "mse")
    return model


def sample(space, **values):
    """Return what is active where the given values are chosen."""
    hp = keras_tuner.HyperParameters()
    space.sample(hp)
    hp.values.update({f"pruning/{name}": value for name, value in values.items()})
    hp.ensure_active_values()
    return space.sample(hp)


SHARED = {"method", "sparsity"}
OF_COMBINATION = {"k", "combination_epochs", "restarts", "combination_distribution"}
OF_K_STARTS = {"k", "k_starts_epochs", "fitness", "distribution", "selection"}
OF_DISSIPATION = {"dissipating_epochs", "criterion", "dissipating_distribution"}
EVERY_METHOD = PruningSpace(
    methods=["combination", "dissipating_gradients", "k_starts", "random"]
)


@pytest.mark.parametrize(
    ("choices", "active"),
    [
        ({"method": "combination"}, OF_COMBINATION),
        ({"method": "k_starts", "distribution": "erk"}, OF_K_STARTS),
        ({"method": "k_starts", "distribution": "global"}, OF_K_STARTS - {"selection"}),
        ({"method": "dissipating_gradients"}, OF_DISSIPATION),
        ({"method": "random"}, {"random_distribution", "draw"}),
    ],
)
def test_only_what_has_a_meaning_is_active(choices, active):
    assert set(sample(EVERY_METHOD, **choices)) == SHARED | active


def test_every_hyperparameter_is_declared_before_the_first_trial():
    hp = keras_tuner.HyperParameters()
    hypermodel = PruningHyperModel(build, EVERY_METHOD)
    hypermodel.declare_hyperparameters(hp)
    hypermodel.build(hp)
    names = {each.name for each in hp.space}
    ours = SHARED | OF_COMBINATION | OF_K_STARTS | OF_DISSIPATION
    ours |= {"random_distribution", "draw"}
    assert names == {f"pruning/{name}" for name in ours} | {"units"}


def test_the_combination_takes_what_is_chosen():
    space = PruningSpace(
        sparsities=[0.96], combination_epochs=[5], restarts=[0.25], k=[8]
    )
    [made] = space.callbacks(sample(space, method="combination"), seed=3)
    assert (made.sparsity, made.epochs, made.restarts) == (0.96, 5, 0.25)
    assert (made.k, made.seed, made.distribution) == (8, 3, "erk")
    assert space.pruning_epochs({"method": "combination", "combination_epochs": 5}) == 5


def test_every_method_gives_its_callbacks():
    kinds = {
        "combination": [Combination],
        "k_starts": [KStarts],
        "dissipating_gradients": [DissipatingGradients],
        "random": [RandomPruning],
    }
    for method, expected in kinds.items():
        values = sample(EVERY_METHOD, method=method, sparsity=0.97)
        made = EVERY_METHOD.callbacks(values)
        assert [type(callback) for callback in made] == expected
        assert made[-1].sparsity == 0.97
        assert EVERY_METHOD.pruning_epochs(values) <= EVERY_METHOD.pruning_epochs()


def test_numbers_that_travelled_in_single_precision_are_those_of_the_space():
    space = PruningSpace(sparsities=[0.9, 0.95])
    values = sample(space, sparsity=float(np.float32(0.95)))
    assert values["sparsity"] == 0.95


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"methods": []}, "`methods` must list"),
        ({"methods": "random"}, "`methods` must list"),
        ({"methods": ["magic"]}, "`methods` must be one of"),
        ({"sparsities": [1.0]}, "`sparsities`"),
        ({"k": [0]}, "`k`"),
        ({"restarts": [1.5]}, "`restarts`"),
        ({"combination_epochs": [0]}, "`combination_epochs`"),
        ({"distributions": ["global"]}, "`distributions`"),
        (
            {
                "distributions": ["global"],
                "selections": ["unit"],
                "methods": ["k_starts"],
            },
            "`selections`",
        ),
        ({"distributions": ["global"], "methods": ["random"]}, "`distributions`"),
    ],
)
def test_a_space_refuses_what_a_callback_would(arguments, message):
    with pytest.raises(ValueError, match=message):
        PruningSpace(**arguments)


def test_a_hypermodel_wraps_functions_and_hypermodels_only():
    with pytest.raises(ValueError, match="`hypermodel` must be"):
        PruningHyperModel(1)


def metrics(accuracy, sparsity):
    return {"val_accuracy": accuracy, "sparsity": sparsity}


def test_accuracy_at_sparsity_prefers_any_network_that_is_sparse_enough():
    objective = AccuracyAtSparsity(0.95)
    enough, more = metrics(0.5, 0.95), metrics(0.6, 0.99)
    dense, denser = metrics(0.99, 0.94), metrics(1.0, 0.5)
    scores = [objective.score(each) for each in (denser, dense, enough, more)]
    assert scores == sorted(scores)
    assert scores[1] < 0 < scores[2]


def test_sparsity_within_tolerance_prefers_any_network_that_is_good_enough():
    objective = SparsityWithinTolerance(lambda: 0.98, tolerance=0.005)
    bad, worse = metrics(0.97, 0.99), metrics(0.9, 0.995)
    good, sparser = metrics(0.975, 0.9), metrics(0.976, 0.95)
    scores = [objective.score(each) for each in (worse, bad, good, sparser)]
    assert scores == sorted(scores)
    assert scores[1] < 0 < scores[2] == 0.9


def test_a_loss_is_as_good_an_objective():
    objective = SparsityWithinTolerance(0.2, tolerance=0.1, metric="val_loss")
    assert objective.score({"val_loss": 0.29, "sparsity": 0.9}) == 0.9
    assert objective.score({"val_loss": 0.4, "sparsity": 0.9}) == pytest.approx(-0.1)
    at = AccuracyAtSparsity(0.9, metric="val_loss")
    low, high = ({"val_loss": v, "sparsity": 0.9} for v in (0.1, 5.0))
    assert 1 > at.score(low) > at.score(high) > 0


def test_the_front_is_what_no_other_point_beats():
    points = [(0.9, 0.8), (0.8, 0.9), (0.85, 0.85), (0.85, 0.8), (0.1, 0.95)]
    assert objectives.non_dominated(points) == [True, True, True, False, True]


def test_weights_of_the_pareto_objective_go_along_the_front():
    trials = [metrics(0.99, 0.5), metrics(0.97, 0.9), metrics(0.5, 0.99)]
    best = [
        int(np.argmax(ParetoFront().weighed(trials, weight)))
        for weight in (0.98, 0.5, 0.02)
    ]
    assert best == [0, 1, 2]


def test_a_metric_that_is_missing_or_out_of_range_ends_the_search():
    with pytest.raises(keras_tuner.errors.FatalError, match="val_accuracy"):
        AccuracyAtSparsity(0.9).score({"loss": 1.0, "sparsity": 0.95})
    with pytest.raises(keras_tuner.errors.FatalError, match="at most 1"):
        AccuracyAtSparsity(0.9).score(metrics(2.0, 0.95))
    with pytest.raises(ValueError, match="metric_direction"):
        AccuracyAtSparsity(0.9, metric="val_score")
    with pytest.raises(ValueError, match="`objective` must be one of"):
        objectives.get("luck")


def test_the_figure_marks_the_front_and_keeps_collapsed_trials_at_its_edge():
    trials = [(0.9, 98.0, True), (0.98, 97.5, True), (0.9, 97.6, False), (0.99, 10, 0)]
    records = [
        {"sparsity": sparsity, "value": value, "front": bool(front)}
        for sparsity, value, front in trials
    ]
    records[1]["best"] = True
    axis = plots.pareto_front(records, dense=98.2)
    labels = [text.get_text() for text in axis.get_legend().get_texts()]
    assert labels == ["Trials", "Beyond the axis", "Pareto front", "Best", "Dense"]
    front = axis.lines[0]
    np.testing.assert_allclose(front.get_ydata(), [98.0, 97.5])
    assert 97 < axis.get_ylim()[0] < 97.5
    assert plots.pareto_front(records, axis=axis) is axis
    with pytest.raises(ValueError, match="`records`"):
        plots.pareto_front([])


def test_strategies_that_keras_does_not_support_are_refused(monkeypatch):
    import tensorflow as tf

    monkeypatch.delenv("TF_CONFIG", raising=False)
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    with pytest.raises(ValueError, match=r"MultiWorkerMirroredStrategy.*--role chief"):
        strategies.get(strategy)
    # It cannot be made without a cluster.
    server = object.__new__(tf.distribute.ParameterServerStrategy)
    with pytest.raises(ValueError, match=r"ParameterServerStrategy.*chief"):
        strategies.check_strategy(server)
    for wrong in ("many", "mirrored "):
        with pytest.raises(ValueError, match="`strategy` must be one of"):
            strategies.get(wrong)
    with pytest.raises(TypeError, match=r"tf\.distribute\.Strategy"):
        strategies.get(3)
    with pytest.raises(ValueError, match="`devices` is for"):
        strategies.get("one_device", devices=2)


def test_roles_set_what_keras_tuner_reads_and_put_it_back(monkeypatch):
    monkeypatch.setenv("KERASTUNER_ORACLE_IP", "10.0.0.7")
    monkeypatch.setenv("KERASTUNER_TUNER_ID", "chief")
    assert workers.current() == "chief"
    with workers.playing("single"):
        assert workers.current() == "single"
    with workers.playing("worker", "10.0.0.1", 9000):
        assert workers.current() == "worker"
        assert workers.chief_address() == "10.0.0.1:9000"
    assert workers.current() == "chief"
    for arguments, message in [
        ({"role": "boss"}, "`role`"),
        ({"role": "chief", "port": 0}, "`port`"),
        ({"role": "worker", "name": "chief-2"}, "`name`"),
        ({"role": "chief", "name": "a"}, "`name`"),
    ]:
        with pytest.raises(ValueError, match=message), workers.playing(**arguments):
            pass

"""What editors offer as an identifier is what the package takes, in every family."""

import inspect
import typing

import pytest

from keras_initprune import DissipatingGradients, KStarts, export, prune
from keras_initprune.arrays import distributions, selection
from keras_initprune.criteria import CRITERIA, dissipation, fitness, registry
from keras_initprune.deploy import export as exporting
from keras_initprune.lab import datasets
from keras_initprune.lab.datasets import loading
from keras_initprune.tuner import PruningTuner, objectives, oracles, strategies

FAMILIES = [
    (prune, "method", registry.CriterionName, CRITERIA),
    (prune, "distribution", distributions.DistributionName, None),
    (KStarts, "distribution", distributions.DistributionName, None),
    (KStarts, "fitness", fitness.FitnessName, fitness.FITNESS),
    (KStarts, "selection", selection.SelectionName, selection.SELECTIONS),
    (
        DissipatingGradients,
        "criterion",
        dissipation.CriterionName,
        dissipation.DISSIPATION,
    ),
    (export, "format", exporting.FormatName, exporting.FORMATS),
    (PruningTuner, "objective", objectives.ObjectiveName, objectives.OBJECTIVES),
    (PruningTuner, "algorithm", oracles.AlgorithmName, oracles.ORACLES),
    (PruningTuner, "strategy", strategies.StrategyName, strategies.STRATEGIES),
    (datasets.load, "name", loading.Name, loading.NAMES),
]


@pytest.mark.parametrize(
    ("function", "argument", "names", "registry"),
    FAMILIES,
    ids=lambda value: getattr(value, "__name__", None),
)
def test_an_editor_can_complete_it(function, argument, names, registry):
    annotation = inspect.signature(function).parameters[argument].annotation
    assert names in typing.get_args(annotation)
    if registry is not None:
        assert list(typing.get_args(names)) == list(registry)


def test_distributions_are_those_that_are_known():
    for name in typing.get_args(distributions.DistributionName):
        assert distributions.check_distribution(name, ranked=True) == name

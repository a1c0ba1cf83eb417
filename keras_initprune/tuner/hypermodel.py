"""A hypermodel that adds pruning to the search space of any other."""

import math
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import keras_tuner
from keras_tuner import errors

from keras_initprune import constraints
from keras_initprune.reports.report import sparsity
from keras_initprune.tuner import strategies
from keras_initprune.tuner.objectives import SPARSITY
from keras_initprune.tuner.space import PruningSpace
from keras_initprune.validation import check_seed


class PruningHyperModel(keras_tuner.HyperModel):
    """Searches how to prune, together with whatever another hypermodel searches.

    Every hyperparameter is declared before the first trial, those of the wrapped
    hypermodel included. `build` installs masks, so that KerasTuner's checkpoints hold
    them and models that come back from it are sparse and stay so. `fit` builds the
    pruning callbacks from the hyperparameters and puts them before all others.

    A trial that collapses or becomes NaN ends as `FailedTrialError`, with the reason.
    A trial that goes on from an earlier one (Hyperband) keeps its masks and does not
    select again.

    Use it with `PruningTuner`. It works with KerasTuner's own tuners, too, but their
    objectives know nothing of sparsity: `"val_accuracy"` alone prefers the densest.

    Args:
        hypermodel: A function from hyperparameters to a compiled model, or a
            `keras_tuner.HyperModel`.
        space: The pruning hyperparameters. Defaults to None: `PruningSpace()`.
        seed: Seeds Keras, NumPy and Python before every build, and the random masks,
            so that trials differ in nothing but hyperparameters and can be repeated.
            None leaves the generators alone. Defaults to 0.
        name: Name of the hypermodel. Defaults to None.
        tunable: Whether the hyperparameters are searched. Defaults to True.

    Example:
        >>> def build(hp):
        ...     units = hp.Choice("units", [8, 16])
        ...     layers = [keras.Input((4,)), keras.layers.Dense(units)]
        ...     model = keras.Sequential([*layers, keras.layers.Dense(2)])
        ...     model.compile("adam", "mse")
        ...     return model
        >>> hp = keras_tuner.HyperParameters()
        >>> model = PruningHyperModel(build).build(hp)
        >>> hp.get("pruning/sparsity"), hp.get("units")
        (0.8, 8)
    """

    def __init__(
        self,
        hypermodel: Callable[[Any], keras.Model] | keras_tuner.HyperModel,
        space: PruningSpace | None = None,
        seed: int | None = 0,
        name: str | None = None,
        tunable: bool = True,
    ):
        super().__init__(name, tunable)
        if not isinstance(hypermodel, keras_tuner.HyperModel):
            hypermodel = _FromFunction(hypermodel)
        self.hypermodel = hypermodel
        self.space = PruningSpace() if space is None else space
        self.seed = check_seed(seed)

    def declare_hyperparameters(self, hp: keras_tuner.HyperParameters) -> None:
        """Declare the pruning hyperparameters and those of the wrapped hypermodel."""
        self.space.sample(hp)
        self.hypermodel.declare_hyperparameters(hp)

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        """Build the wrapped model and install masks that keep everything."""
        self.space.sample(hp)
        if self.seed is not None:
            keras.utils.set_random_seed(self.seed)
        model = self.hypermodel.build(hp)
        if not model.built:
            raise errors.FatalValueError(
                "The models of a search must be built, so that they can have masks: "
                "begin yours with `keras.Input`, or call `model.build(input_shape)`. "
                f"Received: {model.name!r}"
            )
        return constraints.install_masks(model, self.space.layers)

    def callbacks(
        self, hp: keras_tuner.HyperParameters
    ) -> list[keras.callbacks.Callback]:
        """Return the callbacks that prune as hyperparameters say.

        `model.fit(..., callbacks=hypermodel.callbacks(best_hyperparameters))` repeats
        the pruning of a trial.
        """
        return self.space.callbacks(self.space.sample(hp), self.seed)

    def fit(
        self,
        hp: keras_tuner.HyperParameters,
        model: keras.Model,
        *args: Any,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        **kwargs: Any,
    ) -> dict[str, float]:
        """Train and prune a model; return the metrics of the last epoch.

        Args:
            hp: The hyperparameters.
            model: What `build` returned.
            *args: Arguments of `fit`.
            callbacks: KerasTuner's callbacks, and the user's.
            **kwargs: Further arguments of `fit`.

        Returns:
            The metrics, the fraction of weights that are zero as `"sparsity"`, and the
            time that training took as `"seconds"`.

        Raises:
            FailedTrialError: If the network collapses or a number is not finite.
            FatalValueError: If the epochs or the distribution strategy cannot do.
        """
        started = time.perf_counter()
        strategies.check_model(model)
        epochs = self._check_epochs(hp, kwargs)
        # What goes on from an earlier trial has the masks that this one chose.
        pruning = [] if kwargs.get("initial_epoch") else self.callbacks(hp)
        ours = [_StopAtNaN(), *pruning]
        theirs = [_after_pruning(callback, epochs) for callback in callbacks]
        try:
            results = self.hypermodel.fit(
                hp, model, *args, callbacks=[*ours, *theirs], **kwargs
            )
        except FloatingPointError as error:
            raise errors.FailedTrialError(_one_line(error)) from error
        except ValueError as error:
            # A mistake of the user's must not pass for a network that collapsed.
            if not _is_from_pruning(error):
                raise
            raise errors.FailedTrialError(_one_line(error)) from error
        metrics = _last_metrics(results)
        _check_finite(metrics)
        seconds = time.perf_counter() - started
        return {**metrics, SPARSITY: sparsity(model), "seconds": seconds}

    def _check_epochs(self, hp: Any, kwargs: Mapping[str, Any]) -> int:
        """Return the epochs that pruning takes; raise unless one more follows."""
        needed = self.space.pruning_epochs(self.space.sample(hp))
        available = kwargs.get("epochs")
        if available is not None and available <= needed:
            raise errors.FatalValueError(
                "`epochs` must be more than the epochs in which a trial prunes, which "
                f"are {needed}: only then the last one is measured with the final "
                f"mask. Received: epochs={available}"
            )
        return needed


class _FromFunction(keras_tuner.HyperModel):
    """The hypermodel of a function that builds models."""

    def __init__(self, function: Callable[[Any], keras.Model]):
        if not callable(function):
            raise ValueError(
                "`hypermodel` must be a function or a `keras_tuner.HyperModel`. "
                f"Received: hypermodel={function!r}"
            )
        super().__init__()
        self.build = function


class _StopAtNaN(keras.callbacks.Callback):
    """Ends a training whose loss is not finite after the epoch in which it happens."""

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        loss = (logs or {}).get("loss")
        if loss is not None and not math.isfinite(loss):
            raise FloatingPointError(f"The loss became {loss} in epoch {epoch + 1}.")


class _AfterPruning(keras.callbacks.Callback):
    """Hides the first epochs from KerasTuner's checkpoint of the best epoch.

    Networks are best before they are pruned, and the checkpoint would hold that one.
    """

    def __init__(self, callback: keras.callbacks.Callback, epochs: int):
        super().__init__()
        self.callback = callback
        self.epochs = epochs

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        self.callback.set_model(model)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        if epoch >= self.epochs:
            self.callback.on_epoch_end(epoch, logs)


def _after_pruning(
    callback: keras.callbacks.Callback, epochs: int
) -> keras.callbacks.Callback:
    # KerasTuner does not export the class.
    is_checkpoint = type(callback).__name__ == "SaveBestEpoch"
    return _AfterPruning(callback, epochs) if is_checkpoint else callback


def _is_from_pruning(error: BaseException) -> bool:
    frames = traceback.walk_tb(error.__traceback__)
    modules = [frame.f_globals.get("__name__", "") for frame, _ in frames]
    return any(name.startswith("keras_initprune.callbacks") for name in modules)


def _last_metrics(results: Any) -> dict[str, float]:
    if isinstance(results, keras.callbacks.History):
        return {name: float(values[-1]) for name, values in results.history.items()}
    if isinstance(results, Mapping):
        return {name: float(value) for name, value in results.items()}
    raise errors.FatalTypeError(
        "`fit` of the wrapped hypermodel must return a `History` or a dictionary of "
        f"metrics. Received: {results!r}"
    )


def _check_finite(metrics: Mapping[str, float]) -> None:
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise errors.FailedTrialError(f"The metric {name!r} became {value}.")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())

"""Trains one configuration and returns its record."""

import functools
import importlib.metadata
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_initprune import constraints
from keras_initprune.callbacks import checks
from keras_initprune.lab import datasets, models
from keras_initprune.lab.runs import methods
from keras_initprune.lab.runs.configuration import CLASSIFICATION, Configuration
from keras_initprune.lab.runs.controls import control_masks, small_widths
from keras_initprune.reports.report import report
from keras_initprune.research import sanity_checks

# Several steps per call of the compiled function halve the time of a small run; the
# callbacks of a comparison act ten times an epoch at most.
CALLS_PER_EPOCH = 10
EVALUATION_BATCH_SIZE = 1000
# What a record begins with.
_NAMES = ("dataset", "model", "method", "sparsity")


@dataclass(frozen=True)
class Outcome:
    """What a finished run leaves behind.

    Attributes:
        record: The run as it is stored in `results.json`.
        model: The trained model.
        history: Values per epoch, from quantity to list.
    """

    record: dict[str, Any]
    model: keras.Model
    history: dict[str, list[float]]


def load_data(run: Configuration, data_dir: str | Path | None = None) -> Any:
    """Return the data set of a run, split as its seed says."""
    return datasets.load(run.dataset, data_dir, run.validation_fraction, run.seed)


def train(
    run: Configuration,
    data: Any = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    validate_epochs: bool = False,
) -> Outcome:
    """Train one configuration, then evaluate it once.

    The same seed gives the same initial weights, split and order of batches to every
    method, so that methods can be compared in pairs. The test images are looked at
    once, when the training is over.

    Args:
        run: The configuration.
        data: The run's data set, as `load_data` returns it. Defaults to loading it.
        callbacks: More callbacks, which come after those of the method.
        validate_epochs: Whether to evaluate the validation images after every epoch
            and not only at the end.

    Raises:
        ValueError: If the training diverges or the method refuses a setting.

    Example:
        >>> from keras_initprune.lab.runs.configuration import configure
        >>> outcome = train(configure("digits", epochs=1))
        >>> outcome.record["method"], outcome.record["achieved_sparsity"]
        ('dense', 0.0)
    """
    data = load_data(run) if data is None else data
    pruning = methods.callbacks(run)
    arguments = [checks.describe(callback) for callback in pruning]
    started = time.perf_counter()
    keras.utils.set_random_seed(run.seed)
    model = build(run, data)
    x, y = _examples(run, data, "train")
    validation = None
    if validate_epochs:
        validation = pipeline(run, data, "validation", EVALUATION_BATCH_SIZE)
    for callback in pruning:
        if isinstance(callback, methods.InitialPruning):
            callback.data = (x, y)
    audit = methods.Audit()

    def fit(
        model: keras.Model,
        own: Sequence[keras.callbacks.Callback],
        x: Any = x,
        y: Any = y,
        epochs: int = run.epochs,
    ) -> Any:
        return model.fit(
            datasets.pipeline(x, y, run.batch_size, shuffle=True, seed=run.seed),
            epochs=epochs,
            callbacks=[*own, *callbacks, audit],
            validation_data=validation,
            shuffle=False,  # The pipeline shuffles.
            verbose=0,
        )

    if run.control is not None:
        finding = functools.partial(fit, epochs=run.prune_epochs)
        masks = control_masks(run, model, pruning, x, y, finding)
        keras.utils.set_random_seed(run.seed)
        model = build(run, data)
        if run.control == "reinitialised":
            sanity_checks.reinitialise(model, run.seed)
        constraints.install_masks(model)
        constraints.set_masks(model, masks)
        history = fit(model, []).history
    elif pruning and isinstance(pruning[0], methods.LotteryRounds):
        history = pruning[0].train(model, fit).history
    else:
        history = fit(model, pruning).history
    _check_finite(history["loss"], run)
    found = report(model)
    record = {
        **{name: getattr(run, name) for name in _NAMES},
        "achieved_sparsity": found.sparsity,
        "effective_sparsity": found.effective_sparsity,
        "parameters": found.total_parameters - found.parameters + found.kept,
        "seed": run.seed,
        "epochs": run.epochs,
        "steps_per_epoch": math.ceil(len(data.x_train) / run.batch_size),
        **evaluate(model, run, data, "validation"),
        **evaluate(model, run, data, "test"),
        "seconds": round(time.perf_counter() - started, 3),
        "epoch_seconds": audit.seconds,
        "epoch_nonzeros": audit.nonzeros,
        "settings": run.as_dict(),
        "callbacks": arguments,
        "versions": versions(),
    }
    for callback in pruning:
        if isinstance(callback, methods.MaskFitness):
            record["mask_fitness"] = callback.fitness
    return Outcome(record, model, history)


def attempt(
    run: Configuration, data: Any, callbacks: Sequence[keras.callbacks.Callback] = ()
) -> dict[str, Any]:
    """Train one configuration and return its record, whatever comes of it.

    A network that collapses or diverges is an outcome: its record has the reason as its
    entry `failed`, and no measures.
    """
    try:
        return train(run, data, callbacks).record
    except (ValueError, FloatingPointError) as error:
        return {
            **{name: getattr(run, name) for name in _NAMES},
            "achieved_sparsity": None,
            "seed": run.seed,
            "epochs": run.epochs,
            "failed": str(error),
            "settings": run.as_dict(),
            "versions": versions(),
        }


def build(run: Configuration, data: Any) -> keras.Model:
    """Return the compiled, untrained model of a run."""
    arguments = {"input_shape": data.image_shape, "seed": run.seed}
    if run.task == CLASSIFICATION:
        arguments["num_classes"] = data.num_classes
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        metrics = [keras.metrics.SparseCategoricalAccuracy(name="accuracy")]
    else:
        loss = keras.losses.MeanSquaredError()
        metrics = []
    if run.method == "small_dense":
        arguments.update(small_widths(run.model, run.sparsity, arguments))
    model = models.get(run.model)(**arguments)
    steps = math.ceil(len(data.x_train) / run.batch_size)
    model.compile(
        optimizer=_optimizer(run, steps),
        loss=loss,
        metrics=metrics,
        steps_per_execution=math.ceil(steps / CALLS_PER_EPOCH),
        jit_compile=run.jit_compile,
    )
    return model


def _optimizer(run: Configuration, steps: int) -> keras.optimizers.Optimizer:
    """Return the optimizer of a run whose epochs have so many steps."""
    constant = min(run.prune_epochs, run.epochs) * steps
    schedule = keras.optimizers.schedules.CosineDecay(
        run.learning_rate,
        # Training may end as soon as the mask is final.
        decay_steps=max(1, run.epochs * steps - constant),
        # It rises from where it begins to the same rate: it stays.
        warmup_target=run.learning_rate,
        warmup_steps=constant,
    )
    weight_decay = run.weight_decay or None
    if run.optimizer == "adam":
        return keras.optimizers.Adam(schedule, weight_decay=weight_decay)
    return keras.optimizers.SGD(
        schedule, momentum=0.9, nesterov=True, weight_decay=weight_decay
    )


def versions() -> dict[str, str]:
    """Return the versions of the packages that a result depends on."""
    try:
        own = importlib.metadata.version("keras_initprune")
    except importlib.metadata.PackageNotFoundError:
        own = "unknown"  # Imported from a folder, without being installed.
    return {
        "keras_initprune": own,
        "keras": keras.version(),
        "tensorflow": importlib.metadata.version("tensorflow"),
    }


def pipeline(run: Configuration, data: Any, split: str, batch_size: int) -> Any:
    """Return the batches of a part of a run's data set, shuffled for training alone."""
    x, y = _examples(run, data, split)
    return datasets.pipeline(x, y, batch_size, split == "train", run.seed)


def _examples(run: Configuration, data: Any, split: str) -> tuple[Any, Any]:
    """Return inputs and targets, which are the images themselves in reconstruction."""
    x, y = getattr(data, f"x_{split}"), getattr(data, f"y_{split}")
    return x, y if run.task == CLASSIFICATION else x


def evaluate(
    model: keras.Model, run: Configuration, data: Any, split: str
) -> dict[str, float]:
    """Return the share of wrong answers, or the images' mean squared error, by name."""
    x, y = _examples(run, data, split)
    # Called directly: tracing `model.evaluate` takes longer than these few batches.
    batches = range(0, len(x), EVALUATION_BATCH_SIZE)
    found = [model(x[begin : begin + EVALUATION_BATCH_SIZE]) for begin in batches]
    outputs = np.concatenate([keras.ops.convert_to_numpy(each) for each in found])
    if run.task == CLASSIFICATION:
        return {f"{split}_error": float(np.mean(np.argmax(outputs, axis=-1) != y))}
    return {f"{split}_mse": float(np.mean(np.square(outputs - y), dtype=np.float64))}


def _check_finite(losses: Sequence[float], run: Configuration) -> None:
    for loss in losses:
        if not math.isfinite(loss):
            raise ValueError(
                f"The loss of {run.method!r} with seed {run.seed} became {loss}. Try a "
                f"smaller `learning_rate`. Received: learning_rate={run.learning_rate}"
            )

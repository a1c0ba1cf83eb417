"""Training that is cheaper from the moment of selection."""

from collections.abc import Callable, Sequence
from typing import Any

import keras

from keras_initprune import validation
from keras_initprune.callbacks.checks import phase_length
from keras_initprune.callbacks.phases import PruningCallback
from keras_initprune.deploy.sparse.conversion import to_sparse


def fit_sparse(
    model: keras.Model,
    *data: Any,
    epochs: int,
    callbacks: Sequence[keras.callbacks.Callback],
    convert: Callable[[keras.Model], keras.Model] = to_sparse,
    initial_epoch: int = 0,
    **arguments: Any,
) -> tuple[keras.Model, keras.callbacks.History]:
    """Train like `fit`, and at the sparse price once the mask is final.

    The epochs of the pruning callbacks run as they would in `model.fit`. Then the model
    is converted, with its optimizer's state and iterations, and the other epochs train
    only the kept weights. Epoch numbers, schedules and the history go on. Pruned
    weights then have no gradient, so clipping by a norm sees the kept weights only.

    Args:
        model: A compiled Sequential or Functional model.
        *data: `x` and `y`, or a data set, as `fit` takes them.
        epochs: Epochs in all.
        callbacks: As in `fit`, with at least one pruning callback. After the
            conversion the others start anew: `on_train_begin` is called twice.
        convert: Makes the cheaper, compiled model. Defaults to `to_sparse`.
        initial_epoch: As in `fit`. Defaults to 0.
        **arguments: Other arguments of `fit`.

    Returns:
        The converted model, trained, and the history of all epochs. The model that was
        given stays as it was when the mask became final.

    Raises:
        ValueError: If there is no pruning callback, no epoch is left after it, or the
            model cannot be converted; before anything is trained.

    Example:
        >>> import numpy as np
        >>> from keras_initprune import KStarts
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> model.compile("sgd", "mse", jit_compile=False)
        >>> x, y = np.ones((8, 4)), np.ones((8, 3))
        >>> pruning = KStarts(k=2, sparsity=0.5, epochs=1)
        >>> sparse, history = fit_sparse(
        ...     model, x, y, epochs=3, callbacks=[pruning], verbose=0
        ... )
        >>> history.epoch, history.history["sparsity"]
        ([0, 1, 2], [0.5, 0.5, 0.5])
    """
    validation.check_positive_integer(epochs, "epochs")
    validation.check_natural_number(initial_epoch, "initial_epoch")
    is_function = callable(convert) and not isinstance(convert, type | keras.Layer)
    rule = "a function that takes and returns a model"
    validation.require(is_function, convert, "convert", rule)
    are_listed = isinstance(callbacks, list | tuple)
    validation.require(are_listed, callbacks, "callbacks", "a list of callbacks")
    pruning = [item for item in callbacks if isinstance(item, PruningCallback)]
    others = [item for item in callbacks if not isinstance(item, PruningCallback)]
    selected = initial_epoch + sum(phase_length(c.epochs, epochs) for c in pruning)
    if not pruning:
        raise ValueError(
            "`callbacks` must hold at least one pruning callback, such as `KStarts`. "
            f"Received: callbacks={[type(item).__name__ for item in callbacks]}"
        )
    if epochs <= selected:
        raise ValueError(
            f"`epochs` must exceed {selected}, the epoch after which the pruning "
            f"callbacks are done. Received: epochs={epochs}"
        )
    _converted(model, convert)

    final = _StopWhenFinal(pruning)
    history = model.fit(
        *data,
        epochs=epochs,
        initial_epoch=initial_epoch,
        callbacks=[*callbacks, final],
        **arguments,
    )
    cheaper = _converted(model, convert)
    if not final.has_stopped:
        return cheaper, history
    rest = cheaper.fit(
        *data,
        epochs=epochs,
        initial_epoch=len(history.epoch) + initial_epoch,
        callbacks=others,
        **arguments,
    )
    return cheaper, _joined(history, rest)


class _StopWhenFinal(keras.callbacks.Callback):
    """Ends `fit` with the epoch in which the last mask becomes final."""

    def __init__(self, pruning: Sequence[PruningCallback]) -> None:
        super().__init__()
        self._pruning = pruning
        self.has_stopped = False

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Stop, unless another callback has stopped for good."""
        if all(callback.is_over for callback in self._pruning):
            self.has_stopped = not self.model.stop_training
            self.model.stop_training = True


def _converted(
    model: keras.Model, convert: Callable[[keras.Model], keras.Model]
) -> keras.Model:
    converted = convert(model)
    if not converted.compiled:
        raise ValueError(
            "`model` must be compiled, and `convert` must return a compiled model. "
            f"Received: model={converted.name!r}, which is not"
        )
    return converted


def _joined(
    first: keras.callbacks.History, second: keras.callbacks.History
) -> keras.callbacks.History:
    """Append one history to another; the mask and its sparsity stay as they are."""
    count = len(second.epoch)
    for name, values in first.history.items():
        values.extend(second.history.get(name, values[-1:] * count))
    first.epoch.extend(second.epoch)
    first.set_model(second.model)
    return first

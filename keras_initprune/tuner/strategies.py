"""Strategies that trials can train under, and why others are refused.

A trial trains on one machine: on one device, or on all of them with
`MirroredStrategy`. Several machines search together as KerasTuner's chief and workers.
"""

import contextlib
from typing import Any, Literal, get_args

import keras
from keras_tuner import errors

from keras_initprune import backend, constraints
from keras_initprune.validation import check_choice, check_positive_integer

StrategyName = Literal["none", "one_device", "mirrored"]
STRATEGIES = get_args(StrategyName)
_REFUSED = ("MultiWorkerMirroredStrategy", "ParameterServerStrategy")


def get(identifier: StrategyName | Any, devices: int | None = None) -> Any:
    """Return a `tf.distribute.Strategy` by its name, or the one that is given.

    Args:
        identifier: `"none"` (TensorFlow's default), `"one_device"` (the first GPU, or
            the CPU), `"mirrored"` (all GPUs, or logical devices of the CPU), or a
            strategy.
        devices: How many devices `"mirrored"` uses. Without a GPU the CPU is divided
            into as many logical devices, which TensorFlow allows only before it has
            done anything else. Defaults to None: all GPUs, or 2.

    Returns:
        A strategy, or None for `"none"`.

    Raises:
        ValueError: If the name is unknown, there are too few devices, or Keras 3 does
            not support the strategy.

    Example:
        >>> get("one_device").num_replicas_in_sync
        1
        >>> get("none") is None
        True
    """
    if not isinstance(identifier, str):
        return check_strategy(identifier)
    check_choice(identifier, "strategy", STRATEGIES)
    if devices is not None:
        check_positive_integer(devices, "devices")
        if identifier != "mirrored":
            raise ValueError(
                "`devices` is for the strategy 'mirrored'. "
                f"Received: devices={devices}, strategy={identifier!r}"
            )
    if identifier == "none":
        return None
    _check_backend()
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if identifier == "one_device":
        return tf.distribute.OneDeviceStrategy("GPU:0" if gpus else "CPU:0")
    kind = "GPU" if gpus else "CPU"
    if not gpus:
        _divide_processor(2 if devices is None else devices)
    names = [device.name for device in tf.config.list_logical_devices(kind)]
    wanted = len(names) if devices is None else devices
    if wanted > len(names):
        raise ValueError(
            f"`devices` must not exceed the {len(names)} devices of this machine. "
            f"Received: devices={devices}"
        )
    return tf.distribute.MirroredStrategy(
        [f"{kind}:{index}" for index in range(wanted)]
    )


def check_strategy(strategy: Any) -> Any:
    """Return a strategy, or raise if trials cannot train under it.

    Raises:
        ValueError: If Keras 3 does not support the strategy; it names the way to go.
        TypeError: If it is not a strategy.
    """
    if strategy is None:
        return None
    _check_backend()
    import tensorflow as tf

    if not isinstance(strategy, tf.distribute.Strategy):
        raise TypeError(
            "`strategy` must be a `tf.distribute.Strategy`, one of "
            f"{', '.join(map(repr, STRATEGIES))}, or None. "
            f"Received: strategy={strategy!r}"
        )
    distribute = tf.distribute
    refused = [
        name
        for name in _REFUSED
        for module in (distribute, distribute.experimental)
        if isinstance(strategy, getattr(module, name))
    ]
    if refused:
        raise ValueError(
            f"`strategy` must be local to one machine: Keras 3 does not support "
            f"{refused[0]}. To search on several machines start one chief and several "
            "workers, each with its own OneDeviceStrategy or MirroredStrategy: "
            "`initprune search --role chief` and `--role worker`, or KerasTuner's "
            f"KERASTUNER_* environment variables. Received: strategy={strategy!r}"
        )
    return strategy


def scope(strategy: Any) -> contextlib.AbstractContextManager:
    """Return the scope of a strategy, or one that does nothing for None."""
    return contextlib.nullcontext() if strategy is None else strategy.scope()


def check_model(model: keras.Model) -> None:
    """Raise if Keras cannot train a model under the strategy that it was built in.

    Raises:
        FatalValueError: If several replicas would accumulate gradients, or take several
            steps at once.
    """
    try:
        constraints.check_training_is_supported(model)
    except ValueError as error:
        raise errors.FatalValueError(str(error)) from error
    strategy = getattr(model, "distribute_strategy", None)
    replicas = getattr(strategy, "num_replicas_in_sync", 1)
    if replicas > 1 and model.steps_per_execution != 1:
        # TensorFlow fails in the middle of an epoch, with an error that says nothing.
        raise errors.FatalValueError(
            "`steps_per_execution` must be 1 under a strategy with several replicas, "
            f"of which there are {replicas}: Keras 3 does not support both. "
            f"Received: steps_per_execution={model.steps_per_execution}"
        )


def _check_backend() -> None:
    backend.check_tensorflow(
        "Strategies for `strategy` are",
        "on JAX, `keras.distribution.set_distribution` divides models and batches",
    )


def _divide_processor(devices: int) -> None:
    import tensorflow as tf

    processor = tf.config.list_physical_devices("CPU")[0]
    parts = [tf.config.LogicalDeviceConfiguration()] * devices
    if len(tf.config.get_logical_device_configuration(processor) or ()) == devices:
        return
    try:
        tf.config.set_logical_device_configuration(processor, parts)
    except RuntimeError as error:
        raise ValueError(
            f"`devices` cannot be {devices} any more: the CPU must be divided before "
            "TensorFlow has done anything else. Make the strategy first, or divide "
            "it with `tf.config.set_logical_device_configuration`."
        ) from error

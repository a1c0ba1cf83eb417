"""What one training run is: data, model, method and every setting that matters."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from keras_initprune import validation
from keras_initprune.validation import one_of

CLASSIFICATION = "classification"
RECONSTRUCTION = "reconstruction"

# What each model is trained for decides its loss and how a run is judged.
TASKS = {
    "perceptron": CLASSIFICATION,
    "autoencoder": RECONSTRUCTION,
    "convnet": CLASSIFICATION,
    "lenet5": CLASSIFICATION,
    "resnet": CLASSIFICATION,
    "vit": CLASSIFICATION,
}

# `prune_epochs` is the number of epochs after which the mask is final.
_SMALL_IMAGES: dict[str, dict[str, Any]] = {
    **{model: {"epochs": 15, "prune_epochs": 5} for model in TASKS},
    "autoencoder": {"epochs": 30, "prune_epochs": 6},
}
_MNIST_LIKE: dict[str, dict[str, Any]] = {
    "perceptron": {
        "epochs": 12,
        "prune_epochs": 6,
        "optimizer": "sgd",
        "learning_rate": 0.1,
        "weight_decay": 1e-3,
        "jit_compile": True,
    },
    "autoencoder": {
        "epochs": 12,
        "prune_epochs": 6,
        "learning_rate": 3e-3,
        "jit_compile": True,
    },
    "convnet": {"epochs": 12, "prune_epochs": 4},
    "lenet5": {"epochs": 12, "prune_epochs": 6},
    "resnet": {
        "epochs": 10,
        "prune_epochs": 5,
        "optimizer": "sgd",
        "learning_rate": 0.1,
        "weight_decay": 5e-4,
    },
    # Compiled, a step takes two thirds of the time; convolutions take longer compiled.
    "vit": {
        "epochs": 10,
        "prune_epochs": 5,
        "learning_rate": 3e-3,
        "jit_compile": True,
    },
}
# 5,000 of the 60,000 training images are the usual validation split. How the networks
# are trained was chosen on 10,000; `docs/study/study.toml` says among what.
_MNIST_TRAINING: dict[str, Any] = {
    "batch_size": 100,
    "learning_rate": 1.2e-3,
    "validation_fraction": 1 / 12,
}

# Data set -> settings of every model, and model -> settings of its own.
DEFAULTS: dict[str, tuple[dict[str, Any], dict[str, dict[str, Any]]]] = {
    # 41 steps per epoch are few, so they are larger than usual.
    "digits": ({"batch_size": 32, "learning_rate": 5e-3}, _SMALL_IMAGES),
    "mnist": (_MNIST_TRAINING, _MNIST_LIKE),
    "fashion_mnist": (
        _MNIST_TRAINING,
        {
            **_MNIST_LIKE,
            "perceptron": {**_MNIST_LIKE["perceptron"], "learning_rate": 0.05},
        },
    ),
}

# The optimizers of runs, in `runner.py`.
OPTIMIZERS = ("adam", "sgd")

# The pruning methods, in `methods.py`.
METHODS = (
    "dense",
    "small_dense",
    "random",
    "magnitude_at_init",
    "snip",
    "iterative_snip",
    "force",
    "grasp",
    "synflow",
    "k_starts",
    "dissipating_gradients",
    "combination",
    "combination_from_75",
    "combination_from_90",
    "hand_over",
    "random_after_epochs",
    "magnitude_after_epochs",
    "gradual_magnitude",
    "granet",
    "rigl",
    "set",
    "lottery_ticket",
)

# Control experiments, in `controls.py`.
CONTROLS = (
    "rewound",
    "shuffled",
    "degrees_shuffled",
    "reinitialised",
    "inverted",
    "corrupt_labels",
    "corrupt_pixels",
    "random_fitness",
)

# The positive numbers that float32 has, but for subnormal ones.
_SMALLEST, _LARGEST = 2.0**-126, 2.0**127

# The names of arguments of the callbacks, which cannot be imported without TensorFlow.
FITNESS = ("magnitude", "gradient", "combined")
GROWTHS = ("accumulated", "magnitudes")
SELECTIONS = ("network", "layer", "unit", "recombine")
CRITERIA = ("movement", "relative", "standardised", "gradient")
DISTRIBUTIONS = ("uniform", "erk", "global")

# A setting's rule: it takes the value and its name, and returns the value.
Check = Callable[[Any, str], Any]

# What tells the runs of one comparison apart. Everything else is shared by them.
VARIED = ("method", "sparsity", "seed")


def _check_own_seed(value: Any, name: str) -> int:
    seed = validation.check_seed(value, name)
    if seed is None:
        raise ValueError(f"A run needs a `{name}`. Received: {name}=None")
    return seed


def _check_truth(value: Any, name: str) -> bool:
    validation.require(isinstance(value, bool), value, name, "true or false")
    return value


def _check_share(value: Any, name: str) -> float:
    return validation.check_positive(value, name, below=1.0)


def _check_weight_decay(value: Any, name: str) -> float:
    return 0.0 if value == 0 and value is not False else _check_share(value, name)


def _or_none(check: Check) -> Check:
    return lambda value, name: None if value is None else check(value, name)


def _setting(check: Check, **default: Any) -> Any:
    """Return a field with its rule, and with a default if one is given."""
    return dataclasses.field(metadata={"check": check}, **default)


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """Everything that decides the outcome of one run.

    Make one with `configure`, which fills in the defaults of the data set.

    Attributes:
        dataset: Name of the data set.
        model: Name of the model.
        method: Name of the pruning method, see `METHODS`.
        sparsity: Fraction of the prunable weights to remove; 0 for `"dense"`.
        seed: Decides the split, the initial weights, the order of the batches and
            every random mask.
        epochs: Epochs of training in all.
        batch_size: Images per step.
        optimizer: `"adam"`, or `"sgd"` with Nesterov's momentum of 0.9.
        learning_rate: The learning rate until the mask is final. From there on it falls
            to 0 along a cosine. A dense network has the same.
        weight_decay: Decoupled weight decay, as in Keras: every step takes away
            `learning_rate * weight_decay` of each weight.
        validation_fraction: Share of the training images that is held out.
        jit_compile: Whether XLA compiles the steps. It takes a second or two, and then
            saves a third of a dense network's time on a CPU.
        prune_epochs: Epochs after which the mask is final. A method may be done
            sooner.
        k: Number of random masks of K-starts and of the combination.
        fitness: Fitness of a weight in K-starts.
        selection: What competes in K-starts.
        criterion: What dissipating gradients rank weights by, or None for the
            callback's own default.
        restarts: Share of fresh starts in the combination, or None for the callback's
            own default; so are `age`, `curve` and `memory`.
        age: How much the combination asks of older weights.
        curve: How early the combination removes weights.
        memory: How much of the earlier pull the combination remembers.
        growth: By what the combination restarts weights: `"accumulated"`, the magnitude
            of the accumulated gradient, or `"magnitudes"`, the sum of magnitudes.
        distribution: How the sparsity spreads over the tensors, or None for the
            method's own default.
        control: Name of a control experiment, see `controls.CONTROLS`: the method only
            finds the mask, which is changed before a network trains with it. None for
            the method itself.
        mask_seed: Seed of the random masks, or None for the run's `seed`: with several,
            one network meets several masks.
    """

    dataset: str = _setting(one_of(DEFAULTS))
    model: str = _setting(one_of(TASKS))
    method: str = _setting(one_of(METHODS))
    sparsity: float = _setting(validation.check_sparsity)
    seed: int = _setting(_check_own_seed, default=0)
    epochs: int = _setting(validation.check_positive_integer)
    batch_size: int = _setting(validation.check_positive_integer)
    optimizer: str = _setting(one_of(OPTIMIZERS), default="adam")
    learning_rate: float = _setting(validation.check_positive)
    weight_decay: float = _setting(_check_weight_decay, default=0.0)
    validation_fraction: float = _setting(_check_share, default=0.1)
    jit_compile: bool = _setting(_check_truth, default=False)
    prune_epochs: int = _setting(validation.check_positive_integer)
    k: int = _setting(validation.check_positive_integer, default=16)
    fitness: str = _setting(one_of(FITNESS), default="magnitude")
    selection: str = _setting(one_of(SELECTIONS), default="recombine")
    criterion: str | None = _setting(_or_none(one_of(CRITERIA)), default=None)
    restarts: float | None = _setting(_or_none(validation.check_share), default=None)
    age: float | None = _setting(_or_none(validation.check_share), default=None)
    curve: float | None = _setting(_or_none(validation.check_fraction), default=None)
    memory: float | None = _setting(_or_none(validation.check_share), default=None)
    growth: str = _setting(one_of(GROWTHS), default="accumulated")
    distribution: str | None = _setting(_or_none(one_of(DISTRIBUTIONS)), default=None)
    control: str | None = _setting(_or_none(one_of(CONTROLS)), default=None)
    mask_seed: int | None = _setting(validation.check_seed, default=None)

    def __post_init__(self) -> None:
        for name, check in CHECKS.items():
            object.__setattr__(self, name, check(getattr(self, name), name))
        unmasked = ("dense", "small_dense", "lottery_ticket")
        if self.control is not None and self.method in unmasked:
            raise ValueError(
                "A `control` needs a method that finds a mask in one training. "
                f"Received: method={self.method!r}, control={self.control!r}"
            )
        if self.method == "dense" and self.sparsity != 0:
            raise ValueError(
                "A dense run removes nothing. Received: "
                f"method='dense', sparsity={self.sparsity!r}"
            )
        if self.method != "dense" and self.prune_epochs > self.epochs:
            raise ValueError(
                f"`prune_epochs` must not exceed `epochs`={self.epochs}. "
                f"Received: prune_epochs={self.prune_epochs}"
            )
        rate = self.learning_rate
        rule = f"from {_SMALLEST:g} to {_LARGEST:g}, as 32 bits have it"
        is_normal = _SMALLEST <= rate <= _LARGEST
        validation.require(is_normal, rate, "learning_rate", rule)

    @property
    def task(self) -> str:
        """What the model is trained for, `"classification"` or `"reconstruction"`."""
        return TASKS[self.model]

    @property
    def masks_from(self) -> int:
        """The seed of the random masks."""
        return self.seed if self.mask_seed is None else self.mask_seed

    @property
    def identity(self) -> tuple[Any, ...]:
        """What tells this run from the others of its comparison."""
        return tuple(getattr(self, name) for name in VARIED)

    @property
    def shared(self) -> dict[str, Any]:
        """The settings that all runs of one comparison have in common."""
        settings = self.as_dict()
        return {name: settings[name] for name in CHECKS if name not in VARIED}

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as a plain dict, as they are stored with a run."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> Self:
        """Return the configuration that `as_dict` has turned into these settings.

        Whole numbers may be written as floats.

        Raises:
            ValueError: If a setting is missing, or unknown, or breaks its rule.
        """
        for names, what in (
            (CHECKS.keys() - settings.keys(), "is missing"),
            (settings.keys() - CHECKS.keys(), "is unknown"),
        ):
            if names:
                raise ValueError(f"The setting {min(names)!r} {what}")
        return cls(**{name: _whole(value) for name, value in settings.items()})

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some settings changed."""
        return dataclasses.replace(self, **changes)


# Setting -> its rule.
CHECKS: dict[str, Check] = {
    field.name: field.metadata["check"] for field in dataclasses.fields(Configuration)
}


def configure(
    dataset: str = "digits",
    model: str = "perceptron",
    method: str = "dense",
    **settings: Any,
) -> Configuration:
    """Return a run's configuration, filled in with the defaults of its data set.

    Args:
        dataset: `"digits"`, `"mnist"` or `"fashion_mnist"`.
        model: `"perceptron"`, `"autoencoder"`, `"convnet"`, `"lenet5"`, `"resnet"` or
            `"vit"`.
        method: Name of the pruning method.
        **settings: Any other attribute of `Configuration`. None stands for the
            default.

    Raises:
        ValueError: If a name is unknown or a value breaks its rule.

    Example:
        >>> run = configure("mnist", "perceptron", "random", sparsity=0.95)
        >>> run.epochs, run.batch_size
        (12, 100)
    """
    validation.check_choice(dataset, "dataset", DEFAULTS)
    validation.check_choice(model, "model", TASKS)
    of_dataset, of_model = DEFAULTS[dataset]
    values: dict[str, Any] = {
        "sparsity": 0.0 if method == "dense" else 0.9,
        **of_dataset,
        **of_model[model],
    }
    given = {name: value for name, value in settings.items() if value is not None}
    values.update(given)
    if "epochs" in given and "prune_epochs" not in given:
        values["prune_epochs"] = _shorten(values["prune_epochs"], values["epochs"])
    return Configuration(dataset=dataset, model=model, method=method, **values)


def _shorten(prune_epochs: int, epochs: Any) -> int:
    """Return the pruning epochs of a training that may be shorter than the default."""
    # A third leaves time to settle; the hand-over needs two.
    epochs = validation.check_positive_integer(epochs, "epochs")
    return min(prune_epochs, max(2, epochs // 3), epochs)


def _whole(value: Any) -> Any:
    is_whole = isinstance(value, float) and value.is_integer()
    return int(value) if is_whole else value

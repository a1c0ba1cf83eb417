"""The tuner: KerasTuner's, for networks that become sparse while they train."""

import contextlib
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import keras_tuner
from keras_tuner import errors
from keras_tuner.engine.trial import TrialStatus

from keras_initprune import validation
from keras_initprune.files import write_atomically
from keras_initprune.tuner import objectives, oracles, strategies, workers
from keras_initprune.tuner.hypermodel import PruningHyperModel
from keras_initprune.tuner.objectives import SearchObjective
from keras_initprune.tuner.oracles import Watcher

ALGORITHMS = tuple(oracles.ORACLES)
_IDLE_SECONDS = 0.5


class PruningTuner(keras_tuner.Tuner):
    """Searches a `PruningHyperModel`.

    It is a `keras_tuner.Tuner`: `search` takes what `fit` takes, an interrupted search
    goes on when the same is called again, and as chief and workers it runs on several
    machines, see `workers.playing`. Trials are scored by the metrics of their last
    epoch, and that is the epoch whose weights and masks are kept.

    Args:
        hypermodel: The hypermodel.
        objective: What to look for: an objective, or `"accuracy_at_sparsity"` or
            `"pareto_front"` with their defaults. Defaults to `"accuracy_at_sparsity"`.
        algorithm: `"random"`, `"hyperband"`, `"bayesian"` or `"grid"`. Defaults to
            `"bayesian"`.
        max_trials: Budget of trials. Defaults to 20.
        max_minutes: No trial begins when so many minutes have passed since `search`
            was called. Defaults to None: no limit.
        epochs: Epochs of the longest trial; for Hyperband, which needs it in advance.
            The other algorithms take it from `search`. Defaults to None.
        seed: Seed of the algorithm; None draws one. Defaults to 0.
        strategy: A `tf.distribute` strategy for the trials, or its name, see
            `strategies.get`. Defaults to None.
        patience: In chief and workers, the seconds of silence after which the other
            side counts as lost. Defaults to 60.
        directory: Folder of the search. Defaults to None: the current one.
        project_name: Folder within it. Defaults to `"search"`.
        overwrite: Whether to begin anew where a search is already. Defaults to False.
        watcher: Hears what happens. Defaults to None.
        **kwargs: Further arguments of `keras_tuner.Tuner`.

    Raises:
        ValueError: If an argument is invalid.

    Example:
        >>> def build(hp):
        ...     model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        ...     model.compile("adam", "mse")
        ...     return model
        >>> import tempfile
        >>> tuner = PruningTuner(
        ...     PruningHyperModel(build),
        ...     objectives.AccuracyAtSparsity(0.9, "val_loss"),
        ...     directory=tempfile.mkdtemp(),
        ... )
        >>> tuner.remaining_trials
        20
    """

    def __init__(
        self,
        hypermodel: PruningHyperModel,
        objective: objectives.ObjectiveName
        | str
        | SearchObjective = "accuracy_at_sparsity",
        algorithm: oracles.AlgorithmName | str = "bayesian",
        max_trials: int = 20,
        max_minutes: float | None = None,
        epochs: int | None = None,
        seed: int | None = 0,
        strategy: strategies.StrategyName | Any = None,
        patience: float = 60.0,
        directory: str | Path | None = None,
        project_name: str = "search",
        overwrite: bool = False,
        watcher: Watcher | None = None,
        **kwargs: Any,
    ):
        if not isinstance(hypermodel, PruningHyperModel):
            raise ValueError(
                "`hypermodel` must be a `PruningHyperModel`; wrap yours in one. "
                f"Received: hypermodel={hypermodel!r}"
            )
        if kwargs.get("executions_per_trial", 1) > 1 and hypermodel.seed is not None:
            raise ValueError(
                "`executions_per_trial` above 1 needs `PruningHyperModel(seed=None)`: "
                "with a seed all executions are the same. "
                f"Received: executions_per_trial={kwargs['executions_per_trial']}"
            )
        validation.check_choice(algorithm, "algorithm", ALGORITHMS)
        if max_minutes is not None:
            validation.check_positive(max_minutes, "max_minutes")
        self.max_minutes = max_minutes
        self.patience = validation.check_positive(patience, "patience")
        self.algorithm = algorithm
        self.watcher = watcher or Watcher()
        strategy = strategies.get("none" if strategy is None else strategy)
        arguments: dict[str, Any] = {
            "objective": objectives.get(objective),
            "max_trials": validation.check_positive_integer(max_trials, "max_trials"),
            # KerasTuner takes 0 for no seed.
            "seed": None if seed is None else seed + 1,
            "patience": self.patience,
        }
        if algorithm == "hyperband":
            if epochs is None:
                raise ValueError("`epochs` must be given for Hyperband.")
            arguments["max_epochs"] = epochs
            arguments["min_epochs"] = hypermodel.space.pruning_epochs() + 1
        oracle = oracles.get(algorithm)(**arguments)
        oracle.watcher = self.watcher
        self.role = workers.current()
        # What to do before the first trial, once the chief can be reached.
        self.prepare: Callable[[], object] = lambda: None
        self._waits = False
        super().__init__(
            oracle,
            hypermodel,
            distribution_strategy=strategy,
            directory=None if directory is None else str(directory),
            project_name=project_name,
            overwrite=overwrite,
            **kwargs,
        )

    def search(self, *args: Any, **kwargs: Any) -> None:
        """Search; the arguments are those of `fit`.

        Raises:
            ConnectionError: In a worker, if the chief is lost.
            OSError: In a chief, if its address cannot be had.
        """
        if self.role == "worker":
            patience = workers.impatient_client(self.patience)
            with workers.quiet_protocol(), patience:
                super().search(*args, **kwargs)
            return
        if self.max_minutes is not None:
            self.oracle.deadline = time.monotonic() + 60.0 * self.max_minutes
        # KerasTuner looks for this to tell whether there is a search to go on with, and
        # would first write it after the first trial.
        self.save()
        if self.role == "single":
            super().search(*args, **kwargs)
            return
        self.oracle.verbose = kwargs.get("verbose", 1)
        # Workers may come while what has to be done first is being done.
        self.oracle.on_hold = True
        server = workers.serving(self.oracle, workers.chief_address())
        with workers.quiet_protocol(), server as wait:
            self.on_search_begin()
            self.oracle.on_hold = False
            wait()
        self.save()

    def on_search_begin(self) -> None:
        """Do what has to be done before the first trial; nothing in workers."""
        self.prepare()

    def pre_create_trial(self) -> None:
        """Wait a little if the last request was answered with "not yet"."""
        if self._waits:
            time.sleep(_IDLE_SECONDS)
        self._waits = True

    def on_trial_begin(self, trial: Any) -> None:
        """Tell the watcher of a worker; an oracle tells that of its own process."""
        self._waits = False
        if self.role == "worker":
            self.watcher.trial_begin(trial)

    def on_batch_end(self, trial: Any, model: Any, batch: int, logs: Any) -> None:
        """Tell the watcher; stop here if the chief is lost."""
        self.watcher.batch_end()
        self._check_chief()

    def on_epoch_end(
        self, trial: Any, model: Any, epoch: int, logs: Any = None
    ) -> None:
        """Tell the watcher."""
        self.watcher.epoch_end(trial)

    def on_trial_end(self, trial: Any) -> None:
        """Report the trial, with the reason if it failed."""
        if self.role == "worker" and trial.message:
            # The protocol has no room for it; the folder is shared.
            path = Path(self.get_trial_dir(trial.trial_id)) / oracles.REASON_NAME
            write_atomically(path, trial.message)
        super().on_trial_end(trial)
        if self.role == "worker":
            self.watcher.trial_end(trial)

    def run_trial(self, trial: Any, *args: Any, **kwargs: Any) -> list[dict]:
        """Train with a trial's hyperparameters."""
        values = trial.hyperparameters.values
        if "tuner/epochs" in values:
            kwargs["epochs"] = values["tuner/epochs"]
            kwargs["initial_epoch"] = values["tuner/initial_epoch"]
        with self._sign_of_life(trial) as self._check_chief:
            return super().run_trial(trial, *args, **kwargs)

    def load_model(self, trial: Any) -> keras.Model:
        """Return the model of a trial, with its masks and constraints in place."""
        model = self._try_build(trial.hyperparameters)
        return self._load_checkpoint(model, trial.trial_id)

    def save(self) -> None:
        """Write the state, so that a kill never leaves half of it."""
        if self.role != "worker":
            self.oracle.save()
        write_atomically(self._get_tuner_fname(), "{}")

    def _try_run_and_update_trial(self, trial: Any, *args: Any, **kwargs: Any) -> None:
        # KerasTuner's own prints a traceback even where a trial fails as it may.
        try:
            self._run_and_update_trial(trial, *args, **kwargs)
            trial.status = TrialStatus.COMPLETED
        except (errors.FatalError, workers.ChiefLostError):
            raise
        except errors.FailedTrialError as error:
            trial.status, trial.message = TrialStatus.FAILED, str(error)
        except Exception:
            trial.status, trial.message = TrialStatus.INVALID, traceback.format_exc()

    def _build_and_fit_model(
        self, trial: Any, *args: Any, **kwargs: Any
    ) -> dict[str, float]:
        # KerasTuner keeps this for subclasses. Its own asks `fit` for the score.
        hp, objective = trial.hyperparameters, self.oracle.objective
        model = self._try_build(hp)
        metrics = self.hypermodel.fit(hp, model, *args, **kwargs)
        return {**metrics, objective.name: objective.score(metrics)}

    def _build_hypermodel(self, hp: Any) -> keras.Model:
        model = super()._build_hypermodel(hp)
        if "tuner/trial_id" in hp.values:
            # Hyperband goes on with the weights and the masks of an earlier trial.
            self._load_checkpoint(model, hp.values["tuner/trial_id"])
        return model

    def _load_checkpoint(self, model: keras.Model, trial_id: str) -> keras.Model:
        with strategies.scope(self.distribution_strategy):
            # Keras leaves out the state of an optimizer that has none yet, and with it
            # the place in the learning rate's schedule.
            model.optimizer.build(model.trainable_variables)
            model.load_weights(self._get_checkpoint_fname(trial_id))
        return model

    def _sign_of_life(
        self, trial: Any
    ) -> contextlib.AbstractContextManager[Callable[[], None]]:
        if self.role != "worker":
            return contextlib.nullcontext(lambda: None)
        patience = self.patience
        return workers.heartbeat(
            lambda: self.oracle.get_trial(trial.trial_id), patience / 4, patience
        )

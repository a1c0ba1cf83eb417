"""The laboratory: data sets, networks, comparisons, searches, the command line."""

from keras_initprune.imports import backend_of_choice


def check_backend() -> None:
    """Raise unless TensorFlow is Keras' backend."""
    if backend_of_choice() != "tensorflow":
        raise ImportError(
            "the laboratory and its command read their data with TensorFlow: set "
            "KERAS_BACKEND=tensorflow, or use the callbacks in a program of your own. "
            f"Received: the backend {backend_of_choice()!r}"
        )

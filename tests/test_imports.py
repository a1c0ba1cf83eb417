"""Importing the package costs nothing, and needs no extras until they are used."""

import importlib
import importlib.util
import subprocess
import sys
import textwrap
from configparser import ConfigParser
from pathlib import Path

import pytest

import keras_initprune
from keras_initprune import prune, to_sparse
from keras_initprune.imports import after_import, needs

pytestmark = pytest.mark.slow

# What extras bring. Keras itself brings rich.
EXTRAS = {
    "tuner": ["keras_tuner", "tensorboard", "sklearn", "joblib"],
    "plots": ["matplotlib"],
    "lab": ["tensorflow_datasets", "sklearn", "joblib", "typer"],
    "litert": ["ai_edge_litert"],
    "onnx": ["onnx", "onnxruntime", "tf2onnx"],
    "cluster": ["distributed"],
    "pandas": ["pandas"],
}


def run(code, *arguments):
    """Run code in a process of its own and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def without(*packages):
    """Return code after which packages cannot be imported."""
    return textwrap.dedent(
        f"""
        import importlib, sys

        class Absent:
            @staticmethod
            def find_spec(name, path=None, target=None):
                if name.split(".")[0] in {packages!r}:
                    raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

        sys.meta_path.insert(0, Absent)
        """
    )


WITHOUT_EXTRAS = without(*(name for names in EXTRAS.values() for name in names))


@pytest.mark.parametrize("arguments", [[], ["initprune"]])
def test_importing_it_loads_nothing_heavy(arguments):
    printed = run(
        """
        import sys
        sys.argv[:] = sys.argv[1:] or sys.argv
        import keras_initprune
        print(*{name.split(".")[0] for name in sys.modules})
        """,
        *arguments,
    )
    heavy = {name for names in EXTRAS.values() for name in names}
    assert not heavy & set(printed.split())
    assert not {"keras", "tensorflow", "rich", "scipy"} & set(printed.split())


def test_the_library_works_without_extras(tmp_path):
    run(
        WITHOUT_EXTRAS
        + textwrap.dedent(
            """
            import keras
            from keras_initprune import *

            model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
            model.compile("adam", "mse")
            prune(model, "magnitude", sparsity=0.5)
            str(report(model)), str(compaction_report(model))
            export(to_sparse(model, smallest=1), sys.argv[1], "numpy")
            """
        ),
        tmp_path / "model.npz",
    )


@pytest.mark.parametrize(
    ("use", "extra"),
    [
        ("keras_initprune.plots", "plots"),
        ("keras_initprune.tuner", "tuner"),
        ("import keras_initprune.lab.cli", "lab"),
        ("from keras_initprune.lab.datasets import load; load('digits')", "lab"),
        ("from keras_initprune.lab.datasets import prepare; prepare('mnist')", "lab"),
    ],
)
def test_a_missing_extra_is_named_with_the_command_that_installs_it(use, extra):
    printed = run(
        f"""{WITHOUT_EXTRAS}
import keras_initprune
try:
    {use}
except ImportError as error:
    print(error)
"""
    )
    assert printed.strip() in [
        f"`{name}` is missing: pip install 'keras_initprune[{extra}]'"
        for name in EXTRAS[extra]
    ]


@pytest.mark.parametrize("algorithm", ["bayesian", "random", "hyperband", "grid"])
def test_a_search_needs_what_the_tuner_extra_brings_alone(tmp_path, algorithm):
    setup = ConfigParser()
    setup.read(Path(__file__).parent.parent / "setup.cfg")
    brought = setup["options.extras_require"]["tuner"]
    assert {"keras-tuner", "tensorboard", "scikit-learn"} <= set(brought.split())
    others = {name for names in EXTRAS.values() for name in names}
    run(
        without(*(others - set(EXTRAS["tuner"])))
        + textwrap.dedent(
            """
            import keras
            from keras_initprune.tuner import PruningHyperModel, PruningTuner

            def build(hp):
                layers = [keras.Input((4,)), keras.layers.Dense(8)]
                model = keras.Sequential([*layers, keras.layers.Dense(2)])
                model.compile("sgd", "mse", metrics=["accuracy"])
                return model

            PruningTuner(
                PruningHyperModel(build),
                algorithm=sys.argv[2],
                epochs=40,
                directory=sys.argv[1],
            )
            """
        ),
        tmp_path,
        algorithm,
    )


def test_what_is_missing_of_this_package_itself_is_no_extra():
    name = "keras_initprune.nothing"
    with pytest.raises(ModuleNotFoundError, match=name), needs("lab"):
        importlib.import_module(name)


def test_submodules_are_there_after_a_plain_import():
    run(
        """
        import keras_initprune
        keras_initprune.plots.subplots, keras_initprune.tuner.PruningSpace
        keras_initprune.numpy_runtime.load, keras_initprune.lab
        """
    )


def test_what_is_listed_is_public_and_there():
    listed = [name for name in dir(keras_initprune) if not name.startswith("__")]
    assert set(keras_initprune.__all__) < set(listed)
    homes = {getattr(keras_initprune, name).__name__ for name in listed}
    assert {home.partition(".")[0] for home in homes - set(listed)} == {
        "keras_initprune"
    }


def test_every_public_name_is_there_and_no_other():
    for name in keras_initprune.__all__:
        assert getattr(keras_initprune, name).__name__ == name
    for name in ("nothing", "_nothing"):
        with pytest.raises(AttributeError, match=name):
            getattr(keras_initprune, name)


@pytest.fixture
def saved(make_model, tmp_path):
    """Files of a model with masks and of a sparse one."""
    model = make_model()
    prune(model, "random", sparsity=0.9)
    model.save(tmp_path / "masked.keras")
    to_sparse(model, smallest=1, threshold=0.5).save(tmp_path / "sparse.keras")
    return tmp_path


# Whatever is imported first: Keras, this package, or one of its parts.
@pytest.mark.parametrize(
    "imports",
    [
        "import keras, keras_initprune",
        "import keras_initprune, keras",
        "import keras_initprune.constraints, keras",
    ],
)
def test_keras_knows_the_masks_as_soon_as_it_is_imported(saved, imports):
    printed = run(
        f"""
        {imports}
        for name in ("masked", "sparse"):
            model = keras.models.load_model(f"{saved}/{{name}}.keras")
        print(type(model.layers[0]).__name__)
        """
    )
    assert printed == "SparseDense\n"


def test_acting_after_an_import(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "made_up_module.py"
    path.write_text("raise RuntimeError('not yet')")
    seen = []
    after_import("made_up_module", lambda: seen.append(sys.modules["made_up_module"]))
    with pytest.raises(RuntimeError, match="not yet"):
        importlib.import_module("made_up_module")
    assert importlib.util.find_spec("made_up_module").loader.get_source
    assert not seen
    path.write_text("value = 1234567")
    module = importlib.import_module("made_up_module")
    assert [each.value for each in seen] == [1234567]
    assert module.__spec__.loader is module.__loader__
    importlib.reload(module)
    after_import("made_up_module", lambda: seen.append("at once"))
    assert seen == [module, "at once"]
    assert not any(
        getattr(each, "name", 0) == module.__name__ for each in sys.meta_path
    )


def test_the_command_names_its_extra_in_one_line():
    code = f"{WITHOUT_EXTRAS}\nfrom keras_initprune.lab.command import main\nmain()"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "pip install 'keras_initprune[lab]'" in done.stderr

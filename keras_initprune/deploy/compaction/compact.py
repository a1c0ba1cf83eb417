"""Takes units out of a model that do nothing."""

import keras
from keras import ops

from keras_initprune import validation
from keras_initprune.constraints import (
    install_mask,
    mask_variable,
    masked_weights,
    remove_masks,
)
from keras_initprune.constraints.weights import weights_of_layer
from keras_initprune.deploy.compaction.rebuild import Builder, Plan, make_plan
from keras_initprune.deploy.compaction.report import CompactionReport, report_of
from keras_initprune.graphs.graph import call_counts, is_graph


def compact(
    model: keras.Model, keep_masks: bool = False, gather: float = 0.5
) -> keras.Model:
    """Return a smaller model that computes the same function.

    Taken out are units that no other unit reads, units that are constant - what they
    add goes into the biases of their readers -, and then what only these needed, until
    nothing is left to take out: units of dense layers, channels of convolutions (plain,
    transposed, depthwise, separable), columns of embeddings; through normalisation,
    activations, pooling, padding, flattening, reshaping, concatenation and residual
    additions, and inside nested models. Outputs are the same up to float32 rounding,
    whatever the inputs. The new model is a plain Keras model with weights of its own;
    `model` stays as it is. Zeros beside other weights in a unit that stays are kept:
    pruned weights become cheap here only where they empty a unit.

    Left as they are, with all that they read: layers that are called more than once
    (models that are called more than once are compacted inside), recurrent, attention
    and einsum layers, subclasses and layers of your own, grouped convolutions, channels
    first. Where a convolution pads with zeros, a constant channel that is not zero adds
    less at the borders, which no bias can do; one such channel stays and stands in for
    all. `compaction_report` tells what happens to each layer, and why.

    Args:
        model: A built Sequential or Functional model.
        keep_masks: Whether what is left of the masks is installed on the new model, so
            that training it on keeps it sparse. Defaults to False, for a model that
            needs nothing of this package.
        gather: A dense layer that reads at most this fraction of its inputs, such as
            pixels that are not always black, gets a selection of them, made by
            `keras.ops.take`; a Sequential model becomes a Functional one then. 1 means
            whenever one goes unread, for the fewest parameters, 0 means never. Defaults
            to 0.5: a CPU takes longer to select more than it saves in the product.

    Returns:
        A new model, compiled as `model` is, with a fresh optimizer.

    Raises:
        ValueError: If the model is not built, or is a subclass of `keras.Model` that
            defines `call`, if `gather` is not in [0, 1], or if `keep_masks` is set and
            there are no masks.

    Example:
        >>> layers = [keras.Input((2,)), keras.layers.Dense(3), keras.layers.Dense(1)]
        >>> model = keras.Sequential(layers)
        >>> model.layers[1].kernel.assign([[1.0], [0.0], [2.0]]).shape
        TensorShape([3, 1])
        >>> compact(model).layers[0].units
        2
    """
    plan = plan_of(model, gather)
    validation.check_boolean(keep_masks, "keep_masks")
    # Masks are the only boolean weights; not every model has something to prune.
    is_masked = any(weight.dtype == "bool" for weight in model.weights)
    if keep_masks and not is_masked:
        raise ValueError(
            f"`keep_masks` needs a model with masks, and {model.name!r} carries none. "
            "Received: keep_masks=True"
        )
    builder = Builder()
    compacted = builder.build(plan)
    builder.set_weights(plan)
    if keep_masks:
        _carry_masks(plan, builder)
    elif is_masked and masked_weights(compacted):
        remove_masks(compacted)
    return compacted


def compaction_report(model: keras.Model, gather: float = 0.5) -> CompactionReport:
    """Return how much each layer shrinks when a model is compacted, and why not.

    Args:
        model: As in `compact`; it stays as it is.
        gather: As in `compact`. Defaults to 0.5.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
        >>> compaction_report(model).parameters_after
        9
    """
    return report_of(plan_of(model, gather))


def plan_of(model: keras.Model, gather: float) -> Plan:
    """Check a model and plan its compaction."""
    gather = validation.check_share(gather, "gather")
    if not isinstance(model, keras.Model) or not model.built:
        raise ValueError(
            f"`model` must be a built Keras model. Received: model={model!r}"
        )
    if not is_graph(model):
        raise ValueError(
            "`model` must be a Sequential or Functional model: what a subclass that "
            f"defines `call` computes is not known. Received: model={model!r}"
        )
    return make_plan(model, gather, call_counts(model))


def _carry_masks(plan: Plan, builder: Builder) -> None:
    """Give layers that were built anew what is left of their masks."""
    for step in plan.all_steps():
        if step.change is None:
            continue
        old = step.call.operation
        new = {w.attribute: w for w in weights_of_layer(builder.built[id(old)])}
        for weight in weights_of_layer(old):
            mask = mask_variable(weight)
            if mask is not None:
                part = step.change.slices[weight.attribute](ops.convert_to_numpy(mask))
                install_mask(new[weight.attribute])
                mask_variable(new[weight.attribute]).assign(part)

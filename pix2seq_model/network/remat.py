"""Activation checkpointing: layers whose insides are computed again for the gradients.

The backward pass needs the activations of a layer; those that were not kept from the forward pass
are computed a second time when it comes to the layer (arXiv:1604.06174). Results are the same.

"layers" keeps the input of each transformer layer and ResNet block alone, for about a third more
computation. "products" also keeps what dense layers and convolutions give: all between them, which
is attention, normalisation, activation functions and dropout, is computed again, no product twice.

On JAX this is `jax.checkpoint`. On TensorFlow it is the same here: `tf.recompute_grad` knows no
kept products, and XLA sees through what should keep it from taking the activations that it has.
"""

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import Any

import keras

from pix2seq_model.network.checkpointing import LAYERS, NONE, PRODUCTS
from pix2seq_model.network.custom_gradient import with_gradient


def recompute_activations(network: keras.Model, what: str = LAYERS) -> None:
    """Makes a Pix2Seq recompute activations of transformer layers and ResNet blocks in training.

    Args:
      network: the network.
      what: see the module; "none" leaves it as it is built.
    """
    for part in (network.encoder, network.encoder.stem, network.decoder):
        part.recompute = what


def run_layer(
    layer: keras.layers.Layer, *inputs: Any, training: bool, recompute: str = NONE
) -> Any:
    """`layer(*inputs, training=training)`, computed again for the gradients as `recompute` says."""
    if not training or recompute == NONE:
        return layer(*inputs, training=training)
    weights = [variable.value for variable in layer.trainable_variables]
    states = [variable.value for variable in layer.non_trainable_variables]
    checkpointed = _on_jax if keras.backend.backend() == "jax" else _on_tensorflow

    def pure(inputs, weights, states):
        token = _IN_LAYERS.set(recompute == LAYERS)
        try:
            return layer.stateless_call(weights, states, *inputs, training=True)
        finally:
            _IN_LAYERS.reset(token)

    outputs, new_states = checkpointed(
        pure,
        (inputs, weights, states),
        keep_products=recompute == PRODUCTS,
    )
    for variable, new in zip(layer.non_trainable_variables, new_states, strict=True):
        variable.assign(new)
    return outputs


def sum_gradient_here(tensor: Any) -> Any:
    """`tensor`, whose gradient up to here is one array before anything is added to it.

    For a tensor that several layers read, between them. The sum of what each of them gives would
    otherwise be one operation at the end of the backward pass, for which all of it is kept.
    """
    return with_gradient(lambda x: (x, ()), lambda _, gradient: (_whole(gradient),))(tensor)


def _whole(gradient: Any) -> Any:
    if keras.backend.backend() != "jax":
        return gradient
    import jax

    return jax.lax.optimization_barrier(gradient)


def recomputes_layers() -> bool:
    """Whether this is inside a layer that keeps its input alone: nothing within needs keeping."""
    return _IN_LAYERS.get()


def product(function: Callable[..., Any], *tensors: Any) -> Any:
    """`function(*tensors)`, a product or convolution: what "products" keeps on TensorFlow."""
    kept = _PRODUCTS.get()
    return function(*tensors) if kept is None else kept.product(function, *tensors)


def _on_jax(pure: Callable[..., Any], arguments: tuple, *, keep_products: bool) -> Any:
    import jax

    policy = _is_kept_on_jax if keep_products else None
    return jax.checkpoint(pure, policy=policy)(*arguments)


def _is_kept_on_jax(primitive: Any, *_: Any, **parameters: Any) -> bool:
    """Products of an activation with a weight: those of attention have batch axes on both sides."""
    if primitive.name == "dot_general":
        _, (batch, _) = parameters["dimension_numbers"]
        return not batch
    return primitive.name == "conv_general_dilated"


_IN_LAYERS = contextvars.ContextVar("in_layers", default=False)

# ---- TensorFlow. ---------------------------------------------------------------------------------


class _Kept:
    """The products of a layer: recorded in the forward pass, taken from there in the other."""

    def __init__(self) -> None:
        self._results: list[Any] = []
        self._next: int | None = None

    def product(self, function: Callable[..., Any], *tensors: Any) -> Any:
        import tensorflow as tf

        if self._next is None:
            self._results.append(function(*tensors))
            return self._results[-1]
        result = self._results[self._next]
        self._next += 1

        @tf.custom_gradient
        def taken(*tensors):
            def gradients(upstream):
                with tf.GradientTape() as tape:
                    tape.watch(tensors)
                    # Only its gradient is used: the graph leaves the product itself out.
                    again = function(*tensors)
                return tape.gradient(again, tensors, output_gradients=upstream)

            return tf.identity(result), gradients

        return taken(*tensors)

    @contextlib.contextmanager
    def taken(self, upstream: Any) -> Iterator[None]:
        """Inside, products are those that were recorded, known when the gradient `upstream` is."""
        self._next, self._results = 0, _once_there(upstream, self._results)
        try:
            with self.recorded():
                yield
        finally:
            self._next = None

    @contextlib.contextmanager
    def recorded(self) -> Iterator[None]:
        """Inside, products are recorded."""
        token = _PRODUCTS.set(self)
        try:
            yield
        finally:
            _PRODUCTS.reset(token)


_PRODUCTS: contextvars.ContextVar[_Kept | None] = contextvars.ContextVar("products", default=None)


def _on_tensorflow(pure: Callable[..., Any], arguments: tuple, *, keep_products: bool) -> Any:
    import tensorflow as tf

    inputs, weights, states = arguments
    kept = _Kept() if keep_products else None
    new_states: list[Any] = []

    @tf.custom_gradient
    def checkpointed(*tensors):
        inputs_now, weights_now = tensors[: len(inputs)], tensors[len(inputs) :]
        with kept.recorded() if kept else contextlib.nullcontext():
            outputs, after = pure(inputs_now, weights_now, states)
        new_states.extend(after)

        def gradients(upstream):
            inputs_again, states_again = _once_there(upstream, (inputs_now, states))
            sources = (*inputs_again, *weights_now)
            with (
                tf.GradientTape() as tape,
                kept.taken(upstream) if kept else contextlib.nullcontext(),
            ):
                tape.watch(sources)
                again, _ = pure(inputs_again, weights_now, states_again)
            return tape.gradient(again, sources, output_gradients=upstream)

        return outputs, gradients

    return checkpointed(*inputs, *weights), new_states


def _once_there(upstream: Any, tensors: Any) -> Any:
    """The same tensors, but known only when the gradient `upstream` is.

    Else the computation from them would be the one of the forward pass, whose results would be kept
    for it. XLA looks at no control dependencies, so there is one of data: a zero that no compiler
    can know to be one, as it is not where the gradient is not a number.
    """
    import tensorflow as tf

    first = tf.cast(tf.reshape(upstream, [-1])[0], tf.float32)
    with tf.control_dependencies([upstream]):
        zero = tf.minimum(tf.abs(first), 0.0)
        return tf.nest.map_structure(lambda x: x + tf.cast(zero, x.dtype), tensors)

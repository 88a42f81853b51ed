"""What tf2onnx is told about operations: those it does not know, and those that ONNX has whole.

In TensorFlow's graph layer normalisation and GELU come apart into many small operations. ONNX has
the first as one; the second is written as ONNX Runtime knows it.
"""

import math
from typing import Any

import numpy as np
from tf2onnx.graph_matcher import GraphMatcher, OpTypePattern

# The first with LayerNormalization is 17, with the reductions as they are now 18.
OPSET = 18


def _erfc(graph: Any, node: Any, name: str, _: Any) -> None:
    """GELU's erfc(-x / sqrt(2)) as 1 + erf(x / sqrt(2)), which ONNX Runtime fuses."""
    argument = node.inputs[0]
    negated, factor = argument.inputs
    if (argument.type, negated.type) != ("Mul", "Neg") or not np.isclose(
        factor.get_tensor_value(), math.sqrt(0.5)
    ):
        raise ValueError(f"{name} is not GELU's erfc: say how it is written as ONNX")
    sqrt_2 = graph.make_const(f"{name}_sqrt_2", np.array(math.sqrt(2), np.float32)).output[0]
    argument = graph.make_node("Div", [negated.input[0], sqrt_2], name=f"{name}_argument")
    erf = graph.make_node("Erf", argument.output, name=f"{name}_erf").output[0]
    one = graph.make_const(f"{name}_one", np.array(1, np.float32)).output[0]
    _replace(graph, node, "Add", [erf, one])


def _update_slice(graph: Any, node: Any, name: str, _: Any) -> None:
    """A slice one entry long, written at an index: ScatterElements.

    Where a runner binds output and input to one array, ONNX Runtime writes in place.
    """
    array, update, start = node.input
    sizes, wanted = graph.get_shape(array), graph.get_shape(update)
    (axis,) = (axis for axis, (size, part) in enumerate(zip(sizes, wanted)) if size != part)
    if wanted[axis] != 1:
        raise ValueError(f"{name} writes {wanted} into {sizes}: only single entries can be written")
    which = graph.make_const(f"{name}_axis", np.array([axis], np.int64)).output[0]
    index = graph.make_node("Gather", [start, which], name=f"{name}_index").output[0]
    shape = graph.make_node("Shape", [update], name=f"{name}_shape").output[0]
    indices = graph.make_node("Expand", [index, shape], name=f"{name}_indices").output[0]
    _replace(graph, node, "ScatterElements", [array, indices, update], axis=axis)


HANDLERS: dict[str, Any] = {"Erfc": (_erfc, []), "XlaDynamicUpdateSlice": (_update_slice, [])}


def fuse_layer_norms(graph: Any, nodes: Any) -> Any:
    """Puts one LayerNormalization in the place of each of Keras' over the last axis."""
    for has_beta in (True, False):
        matcher = GraphMatcher(_layer_norm_pattern(has_beta=has_beta), allow_reorder=True)
        for match in list(matcher.match_ops(graph.get_nodes())):
            _fuse(graph, match, has_beta=has_beta)
    return graph.get_nodes()


def _fuse(graph: Any, match: Any, *, has_beta: bool) -> None:
    result, x = match.get_op("result"), match.get_op("mean").input[0]
    axis = int(np.ravel(match.get_op("axes").get_tensor_value(as_list=False)).item())
    if axis not in (-1, len(graph.get_shape(x)) - 1):
        return
    gamma = _values(match.get_op("gamma")).reshape(-1)
    beta = _values(match.get_op("beta")) if has_beta else np.zeros_like(gamma)
    attributes = {"axis": -1, "epsilon": float(match.get_op("epsilon").get_tensor_value())}

    def const(name: str, values: np.ndarray) -> str:
        return graph.make_const(f"{result.name}_{name}", values).output[0]

    inputs = [x, const("gamma", gamma)]
    if beta.size == gamma.size:
        inputs.append(const("beta", beta.reshape(-1)))
        _replace(graph, result, "LayerNormalization", inputs, **attributes)
        return
    # TensorFlow has added to it what is added next, such as the position encoding.
    name = f"{result.name}_normalised"
    normalised = graph.make_node("LayerNormalization", inputs, name=name, attr=attributes)
    _replace(graph, result, "Add", [normalised.output[0], const("beta", beta)])


def _layer_norm_pattern(*, has_beta: bool) -> OpTypePattern:
    """x * s + (beta - mean * s), where s = rsqrt(variance + epsilon) * gamma, as Keras writes it.

    TensorFlow leaves out a beta of zeros.
    """
    mean = _pattern("Mean", name="mean")
    variance = _pattern("Mean", _pattern("SquaredDifference"), _pattern("Const", name="axes"))
    root = _pattern("Rsqrt", _pattern("Add|AddV2", variance, _pattern("Const", name="epsilon")))
    scale = _pattern("Mul", root, _pattern("Const|Reshape", name="gamma"))
    shift = _pattern("Mul", _pattern("Neg", mean), _pattern("Mul"))
    if has_beta:
        shift = _pattern("Add|AddV2", shift, _pattern("Const|Reshape", name="beta"))
    return _pattern("Add|AddV2", _pattern("Mul", _pattern("*"), scale), shift, name="result")


def _pattern(kind: str, *inputs: Any, name: str | None = None) -> OpTypePattern:
    return OpTypePattern(kind, name=name, inputs=list(inputs) or None)


def _values(node: Any) -> np.ndarray:
    """Of a constant, seen through reshaping."""
    while node.type == "Reshape":
        node = node.inputs[0]
    return np.asarray(node.get_tensor_value(as_list=False))


def _replace(graph: Any, node: Any, kind: str, inputs: list[str], **attributes: Any) -> None:
    """Another operation in the place of a node, under its name."""
    outputs, dtypes, shapes = list(node.output), node.output_dtypes, node.output_shapes
    graph.remove_node(node.name)
    graph.make_node(
        kind,
        inputs,
        name=node.name,
        outputs=outputs,
        attr=attributes,
        dtypes=dtypes,
        shapes=shapes,
    )

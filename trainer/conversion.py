"""Keras -> ONNX, and the network as a bundle stores it."""

from __future__ import annotations

import gc
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from station.contract.errors import StationError

OPSET = 17
CONVERTED_SIZE = 256
LEAST_HALVED = 64  # smaller tensors are constants of the graph, not worth a Cast


class ConversionError(StationError):
    """A network that cannot be converted."""


def to_onnx(model: Any) -> bytes:
    """A float32 Keras U-Net as ONNX: `image` uint8 [N, H, W, 3], free N, H, W -> `probabilities` float32.

    The convolution kernels, nearly all of the weights, are inputs while the graph is converted and become constants at
    the end: tf2onnx copies every constant in each of its passes, which took 10 GB for a ResNet-50. The small vectors
    are constants from the start, so that each batch normalisation arrives as one product and one sum to be folded.
    Raises ConversionError where Keras does not run on TensorFlow.
    """
    import onnxslim

    kernels = (_array(variable) for variable in model.variables if _is_kernel(variable))
    # The shapes are thrown away below; inferring them would copy all weights several times more.
    network = onnxslim.slim(_filled(_converted(model), kernels), no_shape_infer=True)
    gc.collect()  # onnxslim leaves its own graph, with a copy of the weights, in a circle of references
    _give_plain_ends(network)
    return _checked(network)


def check_backend(name: str) -> None:
    """Raise ConversionError where Keras runs on another backend than TensorFlow."""
    if name != "tensorflow":
        raise ConversionError(
            f"a network is converted through TensorFlow, and Keras runs on {name} here: "
            "export it with KERAS_BACKEND=tensorflow"
        )


def with_float16_weights(onnx_bytes: bytes) -> bytes:
    """The network with large weights kept as float16 behind a Cast; runtimes fold the Cast, so nothing is slower."""
    import onnx

    network = onnx.load_from_string(onnx_bytes)
    graph = network.graph
    casts = []
    for weight in graph.initializer:
        if weight.data_type != onnx.TensorProto.FLOAT or int(np.prod(weight.dims)) < LEAST_HALVED:
            continue
        name = weight.name
        half = onnx.numpy_helper.to_array(weight).astype(np.float16)
        weight.CopyFrom(onnx.numpy_helper.from_array(half, f"{name}_half"))
        casts.append(onnx.helper.make_node("Cast", [f"{name}_half"], [name], to=onnx.TensorProto.FLOAT))
    for cast in reversed(casts):
        graph.node.insert(0, cast)
    return _checked(network)


def _converted(model: Any) -> Any:
    """The graph at one fixed size, its kernels inputs `kernel0`, `kernel1`, ... in the order of `model.variables`.

    Bilinear upsampling only converts at a fixed size; its Resize scales are constants, so the ends are freed afterwards
    and the parity gate runs at several sizes.
    """
    import keras
    import tensorflow as tf
    import tf2onnx

    check_backend(keras.backend.backend())
    kernels = [variable for variable in model.variables if _is_kernel(variable)]
    vectors = {variable.path: _array(variable) for variable in model.variables if not _is_kernel(variable)}
    signature = [tf.TensorSpec((None, CONVERTED_SIZE, CONVERTED_SIZE, 3), tf.float32, "image")]
    signature += [tf.TensorSpec(kernel.shape, tf.float32, f"kernel{n}") for n, kernel in enumerate(kernels)]

    def answer(image: Any, *given: Any) -> Any:
        values = vectors | {kernel.path: value for kernel, value in zip(kernels, given, strict=True)}
        trainable = [values[variable.path] for variable in model.trainable_variables]
        others = [values[variable.path] for variable in model.non_trainable_variables]
        return model.stateless_call(trainable, others, image, training=False)[0]

    network, _ = tf2onnx.convert.from_function(tf.function(answer, autograph=False), signature, opset=OPSET)
    return network


def _is_kernel(variable: Any) -> bool:
    """Whether it is the kernel of a convolution, [height, width, in, out]."""
    return len(variable.shape) == 4


def _array(variable: Any) -> NDArray[Any]:
    from keras import ops

    return np.asarray(ops.convert_to_numpy(variable))


def _filled(network: Any, kernels: Iterable[NDArray[np.float32]]) -> Any:
    """The network with the inputs behind the first turned into constants."""
    import onnx

    graph = network.graph
    del graph.input[1:]
    graph.initializer.extend(onnx.numpy_helper.from_array(kernel, f"kernel{n}") for n, kernel in enumerate(kernels))
    return network


def _give_plain_ends(network: Any) -> None:
    """Input `image` uint8 behind a Cast, output `probabilities`, N, H, W free; tf2onnx leaves its names and sizes."""
    import onnx

    graph = network.graph
    source, sink = graph.input[0], graph.output[0]
    _rename(graph, sink.name, "probabilities")
    for node in graph.node:
        node.input[:] = ["image_float" if name == source.name else name for name in node.input]
    graph.node.insert(0, onnx.helper.make_node("Cast", ["image"], ["image_float"], to=onnx.TensorProto.FLOAT))
    source.name, source.type.tensor_type.elem_type = "image", onnx.TensorProto.UINT8
    sink.name = "probabilities"
    for end in (source, sink):
        for axis, name in enumerate(("batch", "height", "width")):
            end.type.tensor_type.shape.dim[axis].dim_param = name
    del graph.value_info[:]


def _checked(network: Any) -> bytes:
    """The network's bytes, after the checker has read them."""
    import onnx

    data = bytes(network.SerializeToString())
    onnx.checker.check_model(data, full_check=True)
    return data


def _rename(graph: Any, old: str, new: str) -> None:
    for node in graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
        node.output[:] = [new if name == old else name for name in node.output]

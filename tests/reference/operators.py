"""The operators, each drawn to follow a tensor `x` of a graph `g`: build(g, x) appends it and returns its output."""

import numpy as np
import tflite

from graph import Unfit

SAME, VALID = tflite.Padding.SAME, tflite.Padding.VALID


# Operators with weights.

def spatial(size, kernel, stride, dilation, padding):
    """Output size of a window that moves over `size`."""
    reach = (kernel - 1) * dilation + 1
    size = -(-size // stride) if padding == SAME else -(-(size - reach + 1) // stride)
    if size < 1:
        raise Unfit
    return size


def weights(g, x, shape, channel_axis, fan_in, needs_bias=False, per_channel=None):
    """Filter, perhaps a bias, and the quantization of what comes out when each output sums `fan_in` products.

    TensorFlow Lite demands a bias of CONV_2D only.
    """
    channels = shape[channel_axis]
    data = np.clip(g.rng.normal(0, g.pick(60, 60, 60, 20, 2), shape).round(), -127, 127).astype("int8")
    base = g.around(0.01, 10.0)
    per_channel = g.chance(0.6) if per_channel is None else per_channel
    scales = [g.around(base, g.pick(1.5, 20.0)) for _ in range(channels)] if per_channel else [base]
    inputs = [g.constant(data, scales, axis=channel_axis)]
    deviation = g.deviation(x) * float(np.median(scales)) * (data.std() + 1) * np.sqrt(fan_in)
    if needs_bias or g.chance(0.7):
        bias_scales = np.float32(g.tensors[x].scales[0]) * np.float32(scales)
        values = g.rng.normal(0, deviation, channels) / (bias_scales if per_channel else bias_scales[0])
        values = np.clip(values.round(), -2**30, 2**30).astype("int64" if g.wide else "int32")
        inputs.append(g.constant(values, [float(s) for s in bias_scales]))
    return inputs, g.quantization(deviation)


def steps(g):
    """Strides or dilations."""
    return g.pick((1, 1), (1, 1), (2, 2), up_to(g, 3))


def up_to(g, limit):
    """Height and width of 1..=limit each."""
    return g.between(1, limit), g.between(1, limit)


def conv_2d(g, x, depthwise=False):
    height, width, channels = g.image(x)
    kernel, strides, dilations, padding = up_to(g, 5), steps(g), steps(g), g.pick(SAME, VALID)
    multiplier = g.between(1, 3)
    outputs = channels * multiplier if depthwise else g.pick(1, 2, 3, 4, 8, 17)
    shape = (1, *kernel, outputs) if depthwise else (outputs, *kernel, channels)
    fan_in = kernel[0] * kernel[1] * (1 if depthwise else channels)
    constants, quantization = weights(g, x, shape, 3 if depthwise else 0, fan_in, not depthwise)
    sizes = [spatial(*args, padding) for args in zip((height, width), kernel, strides, dilations)]
    y = g.activations((1, *sizes, outputs), quantization)
    options = {"Padding": padding, "StrideH": strides[0], "StrideW": strides[1], "DilationHFactor": dilations[0],
               "DilationWFactor": dilations[1], "FusedActivationFunction": g.activation()}
    if depthwise:
        options["DepthMultiplier"] = multiplier
        return g.op("DEPTHWISE_CONV_2D", 5 if g.wide else 3, [x, *constants], y, "DepthwiseConv2DOptions", **options)
    return g.op("CONV_2D", 4 if g.wide else 3, [x, *constants], y, "Conv2DOptions", **options)


def depthwise_conv_2d(g, x):
    return conv_2d(g, x, depthwise=True)


def fully_connected(g, x):
    shape, keep = g.shape(x), g.chance(0.5)
    depth = shape[-1] if keep or g.chance(0.5) else int(np.prod(shape))
    outputs = g.pick(1, 2, 3, 5, 10, 33)
    result = (*shape[:-1], outputs) if keep else (np.prod(shape) // depth, outputs)
    # With a scale per channel, the reference kernel leaves outputs of other ranks partly unwritten.
    per_channel = len(result) == 2 and g.chance(0.5)
    constants, quantization = weights(g, x, (outputs, depth), 0, depth, per_channel=per_channel)
    y = g.activations(result, quantization)
    return g.op("FULLY_CONNECTED", 7 if g.wide else 5, [x, *constants], y, "FullyConnectedOptions",
                KeepNumDims=keep, FusedActivationFunction=g.activation())


def transpose_conv(g, x):
    height, width, channels = g.image(x)
    kernel, strides, padding = up_to(g, 5), up_to(g, 3), g.pick(SAME, VALID)
    outputs = g.pick(1, 2, 3, 8)
    sizes = [n * s if padding == SAME else (n - 1) * s + k for n, k, s in zip((height, width), kernel, strides)]
    shape = (1, *sizes, outputs)
    fan_in = max(1, channels * kernel[0] * kernel[1] // (strides[0] * strides[1]))
    constants, quantization = weights(g, x, (outputs, *kernel, channels), 0, fan_in)
    size = g.constant(np.array(shape, "int32"))
    return g.op("TRANSPOSE_CONV", 3, [size, constants[0], x, *constants[1:]], g.activations(shape, quantization),
                "TransposeConvOptions", Padding=padding, StrideH=strides[0], StrideW=strides[1],
                FusedActivationFunction=g.activation())


# Pooling and reduction.

def pool(g, x, name):
    height, width, channels = g.image(x)
    kernel, strides, padding = up_to(g, 5), up_to(g, 3), g.pick(SAME, VALID)
    if g.chance(0.2):
        kernel, padding = (height, width), VALID
    sizes = [spatial(n, k, s, 1, padding) for n, k, s in zip((height, width), kernel, strides)]
    y = g.activations((1, *sizes, channels), g.tensors[x].quantization)
    return g.op(name, 3 if g.wide else 2, [x], y, "Pool2DOptions", Padding=padding, StrideH=strides[0],
                StrideW=strides[1], FilterHeight=kernel[0], FilterWidth=kernel[1],
                FusedActivationFunction=g.activation())


def average_pool_2d(g, x):
    return pool(g, x, "AVERAGE_POOL_2D")


def max_pool_2d(g, x):
    return pool(g, x, "MAX_POOL_2D")


def mean(g, x, axes=None, keep=None):
    shape = g.shape(x)
    axes = g.pick([1, 2], [1, 2], [1], [2], [3], [1, 2, 3], [2, 3]) if axes is None else axes
    if max(axes) >= len(shape):
        raise Unfit
    keep = g.chance(0.5) if keep is None else keep
    kept = [1 if i in axes else n for i, n in enumerate(shape) if keep or i not in axes]
    quantization = g.tensors[x].quantization if g.chance(0.5) else g.quantization(g.deviation(x))
    signed = [axis - len(shape) if g.chance(0.3) else axis for axis in axes]
    return g.op("MEAN", 2, [x, g.constant(np.array(signed, "int32"))], g.activations(kept, quantization),
                "ReducerOptions", KeepDims=keep)


# Operators of several activations.

def requantized(g, x, quantization=None):
    """`x` at another scale."""
    y = g.activations(g.shape(x), quantization or g.quantization(g.deviation(x)))
    return g.op("QUANTIZE", 2, [x], y, "QuantizeOptions")


def partner(g, x):
    """A second operand that broadcasts with `x`: the same tensor, a constant, or computed from `x`."""
    shape, kind = g.shape(x), g.pick("same", "constant", "constant", "constant", "scaled", "mean", "flat")
    if kind == "same":
        return x
    if kind == "scaled":
        return requantized(g, x)
    if kind == "mean" and len(shape) == 4 and not g.wide:
        return mean(g, x, g.pick([1, 2], [1], [2], [3], [1, 2, 3]), keep=True)
    if kind == "flat" and np.prod(shape) == shape[-1]:
        return g.op("RESHAPE", 1, [x], g.activations(shape[-1:], g.tensors[x].quantization), "ReshapeOptions",
                    NewShape=shape[-1:])
    parts = [shape, shape[-1:], (), (1,), (1,) * (len(shape) - 1) + shape[-1:]]
    parts += [shape[:i] + (1,) + shape[i + 1:] for i in range(1, len(shape))]
    parts += [tuple(g.between(2, 5) if n == 1 and i else n for i, n in enumerate(shape))]
    return g.random_constant(g.pick(*parts), g.quantization(g.around(g.deviation(x), g.pick(2.0, 100.0))))


def binary(g, name, x, y):
    """ADD, SUB or MUL of two tensors, either of them first."""
    x, y = (y, x) if g.chance(0.5) else (x, y)
    shape = np.broadcast_shapes(g.shape(x), g.shape(y))
    one, two = g.deviation(x), g.deviation(y)
    z = g.activations(shape, g.quantization(one * two if name == "MUL" else np.hypot(one, two)))
    options = {} if name == "MUL" or not g.wide else {"PotScaleInt16": False}
    return g.op(name, 3 if g.wide and name == "ADD" else 2, [x, y], z, f"{name.capitalize()}Options",
                FusedActivationFunction=g.activation(), **options)


def add(g, x):
    return binary(g, "ADD", x, partner(g, x))


def sub(g, x):
    return binary(g, "SUB", x, partner(g, x))


def mul(g, x):
    return binary(g, "MUL", x, partner(g, x))


def concatenation(g, x):
    """`x` among itself, its maxima and constants, all of one scale."""
    shape, quantization = g.shape(x), g.tensors[x].quantization
    if len(shape) < 2:
        raise Unfit
    axis = g.between(1, len(shape) - 1)
    parts = [x]
    for _ in range(g.between(1, 5)):
        kind = g.pick("same", "maxima", "constant", "constant")
        if kind == "maxima" and len(shape) == 4:
            y = g.activations(shape, quantization)
            parts.append(g.op("MAX_POOL_2D", 3 if g.wide else 2, [x], y, "Pool2DOptions", Padding=SAME, StrideH=1,
                              StrideW=1, FilterHeight=3, FilterWidth=2))
        elif kind == "constant":
            size = shape[:axis] + (g.between(1, 4),) + shape[axis + 1:]
            parts.append(g.random_constant(size, quantization))
        else:
            parts.append(x)
    return concatenated(g, [parts[i] for i in g.rng.permutation(len(parts))], axis)


def concatenated(g, parts, axis):
    """CONCATENATION of tensors that differ along `axis` only."""
    shape = list(g.shape(parts[0]))
    shape[axis] = sum(g.shape(part)[axis] for part in parts)
    y = g.activations(shape, g.tensors[parts[0]].quantization)
    axis = axis - len(shape) if axis == len(shape) - 1 and g.chance(0.5) else axis
    return g.op("CONCATENATION", 3 if g.wide else 2, parts, y, "ConcatenationOptions", Axis=axis)


# Operators that move values.

def pad(g, x):
    shape = g.shape(x)
    amounts = np.array([(0, 0)] + [(g.pick(0, 1, 2, 3), g.pick(0, 1, 2)) for _ in shape[1:]], "int32")
    y = g.activations(amounts.sum(1) + shape, g.tensors[x].quantization)
    return g.op("PAD", 2, [x, g.constant(amounts)], y, "PadOptions")


def reshape(g, x):
    count = int(np.prod(g.shape(x)))
    factors = [1]
    for _ in range(g.between(0, 2)):
        rest = count // int(np.prod(factors))
        factors.append(g.pick(*(n for n in range(1, min(rest, 40) + 1) if rest % n == 0)))
    shape = [*factors, count // int(np.prod(factors))]
    asked = list(shape)
    if g.chance(0.4):
        asked[g.between(0, len(shape) - 1)] = -1
    inputs = [x, g.constant(np.array(asked, "int32"))] if g.chance(0.7) else [x]
    y = g.activations(shape, g.tensors[x].quantization)
    return g.op("RESHAPE", 1, inputs, y, "ReshapeOptions", NewShape=asked)


def squeeze(g, x):
    shape = g.shape(x)
    ones = [i for i, n in enumerate(shape) if n == 1 and (i or g.chance(0.3))]
    chosen = [i for i in ones if g.chance(0.7)]
    dropped = chosen or [i for i, n in enumerate(shape) if n == 1]
    kept = [n for i, n in enumerate(shape) if i not in dropped]
    if not dropped or not kept:
        raise Unfit
    signed = [i - len(shape) if g.chance(0.3) else i for i in chosen]
    return g.op("SQUEEZE", 1, [x], g.activations(kept, g.tensors[x].quantization), "SqueezeOptions", SqueezeDims=signed)


def expand_dims(g, x):
    shape = list(g.shape(x))
    if len(shape) > 3:
        raise Unfit
    axis = g.between(-len(shape) - 1, len(shape))
    shape.insert(axis if axis >= 0 else len(shape) + 1 + axis, 1)
    inputs = [x, g.constant(np.array(g.pick(axis, [axis]), "int32"))]
    return g.op("EXPAND_DIMS", 1, inputs, g.activations(shape, g.tensors[x].quantization), "ExpandDimsOptions")


def resize_nearest_neighbor(g, x):
    height, width, channels = g.image(x)
    sizes = g.pick((height * 2, width * 2), up_to(g, 20), up_to(g, 20))
    y = g.activations((1, *sizes, channels), g.tensors[x].quantization)
    corners, centers = g.pick((False, False), (False, True), (True, False))
    return g.op("RESIZE_NEAREST_NEIGHBOR", 3, [x, g.constant(np.array(sizes, "int32"))], y,
                "ResizeNearestNeighborOptions", AlignCorners=corners, HalfPixelCenters=centers)


# Operators on each value alone.

def quantize(g, x):
    return requantized(g, x)


def within_tables(g, x):
    """The reference kernels that look int16 values up in tables overflow where the values mean thousands."""
    if g.wide and g.tensors[x].scales[0] > 0.2:
        raise Unfit


def softmax(g, x):
    within_tables(g, x)
    if g.shape(x)[-1] >= 512:
        raise Unfit  # The reference kernel shifts too far where the exponentials add up to 512.
    y = g.activations(g.shape(x), (1 / 32768, 0) if g.wide else (1 / 256, -128))
    beta = g.pick(1.0, 1.0, 0.5, 3.0, g.around(1.0, 20.0))
    return g.op("SOFTMAX", 3 if g.wide else 2, [x], y, "SoftmaxOptions", Beta=beta)


def logistic(g, x):
    within_tables(g, x)
    y = g.activations(g.shape(x), (1 / 32768, 0) if g.wide else (1 / 256, -128))
    return g.op("LOGISTIC", 3 if g.wide else 2, [x], y)


def tanh(g, x):
    within_tables(g, x)
    y = g.activations(g.shape(x), (1 / 32768 if g.wide else 1 / 128, 0))
    return g.op("TANH", 3 if g.wide else 2, [x], y)


def unary(name, version, table=None, **draws):
    """A function of one value that may change the scale; `draws` makes its options from the graph."""
    def build(g, x):
        quantization = g.tensors[x].quantization if g.chance(0.3) else g.quantization(g.deviation(x))
        options = {option: draw(g) for option, draw in draws.items()}
        return g.op(name, version, [x], g.activations(g.shape(x), quantization), table, **options)
    return build


def leaky_slope(g):
    return g.pick(0.01, 0.2, 0.3, 0.0, 1.5, -0.4, g.around(0.05, 30.0))


# Several operators.

def chain(g, x, length=None):
    """Random operators, one after another; those that do not fit are skipped."""
    end = len(g.ops) + (length or g.between(2, 8))
    names = [name for name in (WIDE_KINDS if g.wide else KINDS) if name not in ("chain", "branches")]
    for _ in range(60):
        if len(g.ops) >= end:
            break
        mark = len(g.tensors), len(g.ops)
        try:
            x = KINDS[g.pick(*names)](g, x)
        except Unfit:
            del g.tensors[mark[0]:], g.ops[mark[1]:]
    return x


def branches(g, x):
    """Two ways from `x`, one perhaps empty, that meet again; something before and after."""
    x = chain(g, x, g.between(1, 2)) if g.chance(0.5) else x
    keepers = ["leaky_relu", "quantize", "relu"] if not g.wide else ["tanh", "logistic"]
    left, right = x, x
    for _ in range(g.between(1, 2)):
        image = len(g.shape(x)) == 4 and g.shape(x)[0] == 1
        left = pointwise(g, left) if image and g.chance(0.7) else KINDS[g.pick(*keepers)](g, left)
    if g.chance(0.6):
        right = KINDS[g.pick(*keepers)](g, right)
    if len(g.shape(x)) > 1 and g.chance(0.3):
        right = requantized(g, right, g.tensors[left].quantization)
        x = concatenated(g, [left, right], len(g.shape(x)) - 1)
    else:
        x = binary(g, g.pick("ADD", "ADD", "SUB", "MUL"), left, right)
    return chain(g, x, g.between(1, 3)) if g.chance(0.7) else x


def pointwise(g, x):
    """A 3x3 or 1x1 convolution that keeps the shape."""
    channels, kernel = g.shape(x)[3], g.pick(1, 3)
    constants, quantization = weights(g, x, (channels, kernel, kernel, channels), 0, kernel * kernel * channels, True)
    return g.op("CONV_2D", 4 if g.wide else 3, [x, *constants], g.activations(g.shape(x), quantization),
                "Conv2DOptions", Padding=SAME, StrideH=1, StrideW=1, FusedActivationFunction=g.activation())


KINDS = {
    "conv_2d": conv_2d, "depthwise_conv_2d": depthwise_conv_2d, "fully_connected": fully_connected,
    "transpose_conv": transpose_conv, "average_pool_2d": average_pool_2d, "max_pool_2d": max_pool_2d, "mean": mean,
    "add": add, "sub": sub, "mul": mul, "concatenation": concatenation, "pad": pad, "reshape": reshape,
    "squeeze": squeeze, "expand_dims": expand_dims, "softmax": softmax, "logistic": logistic, "tanh": tanh,
    "relu": unary("RELU", 2), "relu6": unary("RELU6", 2), "relu_n1_to_1": unary("RELU_N1_TO_1", 1),
    "leaky_relu": unary("LEAKY_RELU", 2, "LeakyReluOptions", Alpha=leaky_slope),
    "hard_swish": unary("HARD_SWISH", 1), "resize_nearest_neighbor": resize_nearest_neighbor, "quantize": quantize,
    "chain": chain, "branches": branches,
}
WIDE_KINDS = ["conv_2d", "depthwise_conv_2d", "fully_connected", "average_pool_2d", "max_pool_2d", "add", "sub", "mul",
              "concatenation", "softmax", "logistic", "tanh", "reshape", "chain", "branches"]
ANY_RANK = {"add", "sub", "mul", "concatenation", "pad", "reshape", "softmax", "fully_connected", "mean", "quantize"}


def input_shape(g, kind):
    """Rank 4 for images, also 2 and 3 where the operator takes them."""
    channels = g.pick(1, 2, 3, 4, 5, 8, 16, 300)
    sides = (1, 1) if g.chance(0.1) else up_to(g, 4 if channels == 300 else 14)
    if kind == "squeeze":
        sides = g.pick((1, sides[0]), (sides[0], 1), (1, 1))
    if kind == "expand_dims" or kind in ANY_RANK and g.chance(0.5):
        rows = g.between(1, 4) if kind == "fully_connected" else 1
        return g.pick((rows, channels), (rows, sides[0], channels))
    return (1, *sides, channels)

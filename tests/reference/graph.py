"""A model under construction: tensors, operators, the random numbers it is drawn with, and its flatbuffer."""

import dataclasses

import flatbuffers
import numpy as np
import tflite

TENSOR_TYPES = {"int8": tflite.TensorType.INT8, "int16": tflite.TensorType.INT16,
                "int32": tflite.TensorType.INT32, "int64": tflite.TensorType.INT64}


class Unfit(Exception):
    """The operator cannot follow the tensor it was offered; draw another."""


@dataclasses.dataclass
class Tensor:
    """A tensor of the graph; `scales` is empty without quantization and has one entry per channel along `axis`."""
    shape: tuple
    dtype: str
    scales: list
    zero: int = 0
    axis: int = 0
    data: np.ndarray = None

    @property
    def quantization(self):
        """Scale and zero point, for operators that must keep them."""
        return self.scales[0], self.zero


class Graph:
    """Tensors and operators of a model under construction, and the random numbers it is drawn with."""

    def __init__(self, rng, wide):
        self.rng, self.wide = rng, wide
        self.dtype = "int16" if wide else "int8"
        self.tensors, self.ops = [], []

    # Random draws.

    def chance(self, probability):
        return self.rng.random() < probability

    def pick(self, *options):
        return options[self.rng.integers(len(options))]

    def between(self, low, high):
        """An integer of low..=high."""
        return int(self.rng.integers(low, high + 1))

    def around(self, value, spread=3.0):
        """`value` times a factor between 1/spread and spread, a float32."""
        return float(np.float32(value * spread ** self.rng.uniform(-1, 1)))

    def zero_point(self):
        return 0 if self.wide else self.pick(-128, 127, 0, *(self.between(-128, 127) for _ in range(5)))

    def quantization(self, deviation=None):
        """Scale and zero point of a tensor with about this standard deviation; now and then far too fine or coarse."""
        if deviation is None:
            deviation = self.around(1.0, 2000.0 if self.chance(0.1) else 20.0)
        scale = deviation / (9000 if self.wide else 40)
        return self.around(scale, 40.0 if self.chance(0.15) else 2.5), self.zero_point()

    def activation(self):
        kinds = tflite.ActivationFunctionType
        return self.pick(kinds.NONE, kinds.NONE, kinds.NONE, kinds.RELU, kinds.RELU6, kinds.RELU_N1_TO_1)

    # Construction.

    def shape(self, x):
        return self.tensors[x].shape

    def image(self, x):
        """Height, width and channels of a rank 4 tensor, a batch of one."""
        if len(self.shape(x)) != 4 or self.shape(x)[0] != 1:
            raise Unfit
        return self.shape(x)[1:]

    def deviation(self, x):
        """A guess at the root mean square of the real values of an activation."""
        tensor = self.tensors[x]
        return tensor.scales[0] * (19000 if self.wide else np.hypot(74, tensor.zero))

    def add(self, tensor):
        if np.prod(tensor.shape) > 40_000:
            raise Unfit
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def activations(self, shape, quantization):
        scale, zero = quantization
        return self.add(Tensor(tuple(int(n) for n in shape), self.dtype, [scale], zero))

    def constant(self, data, scales=(), zero=0, axis=0):
        data = np.asarray(data)
        return self.add(Tensor(data.shape, str(data.dtype), list(scales), zero, axis, data))

    def random_constant(self, shape, quantization):
        scale, zero = quantization
        return self.constant(random_values(self.rng, shape, self.dtype, zero, self.between(0, 3)), [scale], zero)

    def op(self, name, version, inputs, output, table=None, **options):
        """Appends an operator; `table` names its options' type in the schema. Returns the output."""
        self.ops.append((name, version, inputs, output, table, options))
        return output


def random_values(rng, shape, dtype, zero, style):
    """Uniform, extreme, near the zero point, or bell-shaped values, by `style` of 0 to 3."""
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    values = [lambda: rng.integers(low, high + 1, shape), lambda: rng.choice([low, high, zero], shape),
              lambda: zero + rng.integers(-3, 4, shape), lambda: rng.normal(zero, high / 3, shape).round()]
    return np.clip(values[style](), low, high).astype(dtype)


def serialize(g, x, y):
    """The model's flatbuffer, with `x` and `y` as its only input and output."""
    builder = flatbuffers.Builder(1024)

    def table(name, **fields):
        """A table of the schema; lists become int32 vectors."""
        fields = {k: builder.CreateNumpyVector(np.array(v, "int32")) if isinstance(v, (list, tuple)) else v
                  for k, v in fields.items()}
        getattr(tflite, f"{name}Start")(builder)
        for field, value in fields.items():
            getattr(tflite, f"{name}Add{field}")(builder, value)
        return getattr(tflite, f"{name}End")(builder)

    def offsets(values):
        builder.StartVector(4, len(values), 4)
        for value in reversed(values):
            builder.PrependUOffsetTRelative(value)
        return builder.EndVector()

    def buffer(array):
        data = array.tobytes()
        builder.StartVector(1, len(data), 16)
        builder.head -= len(data)
        builder.Bytes[builder.head:builder.head + len(data)] = data
        return table("Buffer", Data=builder.EndVector())

    buffers, tensors, codes, operators = [table("Buffer")], [], [], []
    for index, tensor in enumerate(g.tensors):
        fields = {"Shape": tensor.shape, "Type": TENSOR_TYPES[tensor.dtype], "Name": builder.CreateString(f"t{index}")}
        if tensor.scales:
            zeros = np.full(len(tensor.scales), tensor.zero, "int64")
            fields["Quantization"] = table(
                "QuantizationParameters", Scale=builder.CreateNumpyVector(np.array(tensor.scales, "float32")),
                ZeroPoint=builder.CreateNumpyVector(zeros), QuantizedDimension=tensor.axis)
        if tensor.data is not None:
            fields["Buffer"] = len(buffers)
            buffers.append(buffer(tensor.data))
        tensors.append(table("Tensor", **fields))
    used = sorted({op[:2] for op in g.ops})
    for name, version in used:
        code = getattr(tflite.BuiltinOperator, name)
        codes.append(table("OperatorCode", DeprecatedBuiltinCode=min(code, 127), BuiltinCode=code, Version=version))
    for name, version, inputs, output, options_name, options in g.ops:
        fields = {"OpcodeIndex": used.index((name, version)), "Inputs": inputs, "Outputs": [output]}
        if options_name:
            fields["BuiltinOptionsType"] = getattr(tflite.BuiltinOptions, options_name)
            fields["BuiltinOptions"] = table(options_name, **options)
        operators.append(table("Operator", **fields))
    graph = table("SubGraph", Tensors=offsets(tensors), Inputs=[x], Outputs=[y], Operators=offsets(operators))
    model = table("Model", Version=3, OperatorCodes=offsets(codes), Subgraphs=offsets([graph]),
                  Buffers=offsets(buffers))
    builder.Finish(model, b"TFL3")
    return bytes(builder.Output())

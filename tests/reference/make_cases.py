#!/usr/bin/env python3
"""Writes random quantized TensorFlow Lite models and the answers of TensorFlow Lite's reference kernels.

Each case is a model of one operator, or a random chain or branching of several, with shapes and quantization chosen to
be unpleasant. README.md beside this file says how to run it and what the files hold.
"""

import argparse
import os
import sys

import numpy as np
from tflite_runtime.interpreter import Interpreter, OpResolverType

from graph import Graph, Unfit, random_values, serialize
from operators import KINDS, WIDE_KINDS, input_shape

ATTEMPTS = 60
SAMPLES = 4


def answers(model, inputs):
    """What the reference kernels make of each sample."""
    interpreter = Interpreter(model_content=model, num_threads=1,
                              experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    interpreter.allocate_tensors()
    source, sink = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    outputs = []
    for sample in inputs:
        interpreter.set_tensor(source["index"], sample)
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(sink["index"]))
    return np.stack(outputs)


def without_batch(samples):
    """The axis of samples replaces a batch of one."""
    return samples[:, 0] if samples.ndim > 2 and samples.shape[1] == 1 else samples


def draw(kind, seed, index, wide):
    """One case, (model, inputs, outputs): the first draw that fits, loads, and gives answers that differ."""
    for attempt in range(ATTEMPTS):
        g = Graph(np.random.default_rng([seed, index, attempt]), wide)
        try:
            shape = input_shape(g, kind)
            x = g.activations(shape, g.quantization())
            y = KINDS[kind](g, x)
            zero = g.tensors[x].zero
            inputs = np.stack([random_values(g.rng, shape, g.dtype, zero, style) for style in range(SAMPLES)])
            model = serialize(g, x, y)
            outputs = answers(model, inputs)
        except Unfit:
            continue
        except (RuntimeError, ValueError) as error:
            print(f"{kind}: refused: {error}", file=sys.stderr)
            continue
        if outputs.shape[1:] != g.shape(y):
            raise AssertionError(f"{kind}: shape {outputs.shape[1:]} where {g.shape(y)} was meant")
        if len(np.unique(outputs)) >= min(10, outputs.size // 2):
            return model, without_batch(inputs), without_batch(outputs)
    raise AssertionError(f"{kind}: nothing in {ATTEMPTS} attempts")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", metavar="OUT_DIR")
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", metavar="KIND", choices=KINDS, help=", ".join(KINDS))
    parser.add_argument("--int16", action="store_true", help="int16 activations with int8 weights")
    options = parser.parse_args()
    kinds = WIDE_KINDS if options.int16 else list(KINDS)
    kinds = [options.only] if options.only else kinds + ["chain", "branches"] * 3
    os.makedirs(options.out, exist_ok=True)
    for index in range(options.count):
        kind = kinds[index % len(kinds)]
        model, inputs, outputs = draw(kind, options.seed, index, options.int16)
        path = os.path.join(options.out, f"{index:03}_{kind}")
        with open(f"{path}.tflite", "wb") as file:
            file.write(model)
        np.save(f"{path}.in.npy", inputs)
        np.save(f"{path}.out.npy", outputs)


if __name__ == "__main__":
    main()

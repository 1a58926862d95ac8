"""Writes mobilenet.safetensors and adam.safetensors: what Keras computes, for the tests in src/torch/parity.rs.

Written with Keras 3.15.1 on TensorFlow 2.21.0 (CPU), Python 3.11:

    python3 -m venv venv && venv/bin/pip install keras==3.15.1 tensorflow-cpu==2.21.0 safetensors
    venv/bin/python tests/parity/gen.py

Weights and images come from a formula (`noise`) that the tests compute too, so only Keras' answers are stored, and of those
at most LIMIT values each, evenly spaced over the flat array in Keras' order [n, h, w, c].
"""

import os
import pathlib

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"

import keras
import numpy as np
import tensorflow as tf
from safetensors.numpy import save_file

HERE = pathlib.Path(__file__).parent
LIMIT = 256


def noise(name, shape):
    """Numbers in [-1, 1) that follow from a name: FNV-1a of it, then a mixed counter (the finaliser of MurmurHash3)."""
    seed = 0x811C9DC5
    for byte in name.encode():
        seed = ((seed ^ byte) * 0x01000193) & 0xFFFFFFFF
    x = (np.arange(np.prod(shape), dtype=np.uint64) * 0x9E3779B1 + seed) & 0xFFFFFFFF
    x = ((x ^ (x >> np.uint64(16))) * 0x85EBCA6B) & 0xFFFFFFFF
    x = ((x ^ (x >> np.uint64(13))) * 0xC2B2AE35) & 0xFFFFFFFF
    x = x ^ (x >> np.uint64(16))
    return ((x >> np.uint64(8)).astype(np.float64) / 2**23 - 1.0).astype(np.float32).reshape(shape)


def weight(layer, own, shape):
    """Weights under which activations neither die nor blow up."""
    x = noise(f"{layer}/{own}", shape)
    if own == "kernel":
        # Three times as much where ReLU6 shall meet its ceiling.
        ceiling = np.float32(3.0 if layer == "conv1" else 1.0)
        return x * np.float32(np.sqrt(6.0 / np.prod(shape[:-1]))) * ceiling
    if own == "depthwise_kernel":
        return x * np.float32(np.sqrt(6.0 / (shape[0] * shape[1])))
    if own == "gamma":
        return 1 + np.float32(0.1) * x
    if own == "moving_variance":
        return 1 + np.float32(0.3) * x
    return np.float32(0.1) * x


def images(n, side):
    """Whole numbers from 0 to 255."""
    return np.floor((noise(f"images {side}", (n, side, side, 3)) + 1) * 128).astype(np.float32)


def some(x):
    x = np.asarray(x, dtype=np.float32).reshape(-1)
    return np.ascontiguousarray(x[:: max(1, -(-len(x) // LIMIT))])


def trunk(side):
    model = keras.applications.MobileNet(include_top=False, weights=None, input_shape=(side, side, 3))
    for layer in model.layers:
        for variable in layer.weights:
            variable.assign(weight(layer.name, leaf(layer, variable), variable.shape))
    return model


def leaf(layer, variable):
    """Keras 3 calls a depthwise kernel `kernel`; its weights files, written by Keras 2, do not."""
    depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
    return "depthwise_kernel" if depthwise else variable.name


def scaled(x):
    return keras.applications.mobilenet.preprocess_input(x.astype(keras.config.floatx()))


found = {}
TAPS = ["conv1_relu", "conv_dw_2_relu", "conv_pw_3_relu", "conv_pw_6_relu", "conv_dw_12_relu", "conv_pw_13_relu"]
for side in (32, 75):
    model = trunk(side)
    tapped = keras.Model(model.input, [model.get_layer(name).output for name in TAPS])
    for name, value in zip(TAPS, tapped(scaled(images(2, side)), training=False)):
        found[f"{side}/{name}"] = some(value)
        found[f"{side}/{name}/shape"] = np.array(value.shape, dtype=np.float32)
    found[f"{side}/pooled"] = some(np.asarray(value).mean(axis=(1, 2)))

# One training step: loss, gradients, and what batch normalisation remembers. In float64: in float32 a ReLU that flips for
# the last bit moves the first layers' gradients by half a percent, in Keras against itself.
keras.config.set_floatx("float64")
keras.config.set_dtype_policy("float64")
model = trunk(64)
head = keras.layers.Dense(2, name="predictions")
head.build((None, 1024))
head.kernel.assign(weight("predictions", "kernel", (1024, 2)))
head.bias.assign(weight("predictions", "bias", (2,)))
targets = np.array([0, 1, 1, 0])
with tf.GradientTape() as tape:
    maps = model(scaled(images(4, 64)), training=True)
    logits = head(keras.ops.mean(maps, axis=(1, 2)))
    loss = keras.ops.mean(keras.losses.sparse_categorical_crossentropy(targets, logits, from_logits=True))
watched = [
    ("conv1", "kernel"),
    ("conv_dw_2", "depthwise_kernel"),
    ("conv_pw_7_bn", "gamma"),
    ("conv_pw_13", "kernel"),
    ("conv_pw_13_bn", "beta"),
]
variables = [next(v for v in model.get_layer(name).weights if leaf(model.get_layer(name), v) == own) for name, own in watched]
for (name, own), gradient in zip(watched, tape.gradient(loss, [v.value for v in variables])):
    found[f"step/gradient/{name}/{own}"] = some(gradient)
found["step/loss"] = np.array([loss], dtype=np.float32)
for name in ("conv1_bn", "conv_dw_5_bn", "conv_pw_13_bn"):
    for own in ("moving_mean", "moving_variance"):
        found[f"step/{name}/{own}"] = some(getattr(model.get_layer(name), own))
save_file(found, HERE / "mobilenet.safetensors")

keras.config.set_floatx("float32")
keras.config.set_dtype_policy("float32")

# Five steps of Adam on given gradients, with Keras' default epsilon.
optimizer = keras.optimizers.Adam(learning_rate=1e-3, epsilon=1e-7)
variable = keras.Variable(noise("adam", (16,)))
optimizer.build([variable])
steps = []
for step in range(5):
    optimizer.apply([keras.ops.convert_to_tensor(noise(f"gradient {step}", (16,)) * np.float32(10.0 ** -(2 * step)))])
    steps.append(np.asarray(variable.value))
save_file({"steps": np.stack(steps)}, HERE / "adam.safetensors")

"""Writes steps.safetensors: one training step of three networks with a head, and ten steps of Adam, as Keras computes them.

Written with Keras 3.15.1 on TensorFlow 2.21.0 (CPU), which `scripts/keras` installs:

    PYTHONPATH=$(scripts/keras) python3 tests/parity/steps.py

Weights and images come from the formula of gen.py, which src/torch/steps.rs computes too, so only Keras' answers are stored: the
loss, the norm of every variable's gradient (1e-3 of it is what must agree), and the mean of what batch normalisation remembers.
In float64: in float32 a ReLU that flips for the last bit moves the first layers' gradients by half a percent, in Keras against
itself.
"""

import os
import pathlib

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
import tensorflow as tf
from safetensors.numpy import save_file

HERE = pathlib.Path(__file__).parent
NETWORKS = {"mobilenetv2": keras.applications.MobileNetV2, "resnet50": keras.applications.ResNet50, "densenet121": keras.applications.DenseNet121}
SIDE = 64


def noise(name, shape):
    """As in gen.py."""
    seed = 0x811C9DC5
    for byte in name.encode():
        seed = ((seed ^ byte) * 0x01000193) & 0xFFFFFFFF
    x = (np.arange(np.prod(shape), dtype=np.uint64) * 0x9E3779B1 + seed) & 0xFFFFFFFF
    x = ((x ^ (x >> np.uint64(16))) * 0x85EBCA6B) & 0xFFFFFFFF
    x = ((x ^ (x >> np.uint64(13))) * 0xC2B2AE35) & 0xFFFFFFFF
    x = x ^ (x >> np.uint64(16))
    return ((x >> np.uint64(8)).astype(np.float64) / 2**23 - 1.0).astype(np.float32).reshape(shape)


def weight(layer, own, shape):
    x = noise(f"{layer}/{own}", shape)
    if own == "kernel":
        return x * np.float32(np.sqrt(6.0 / np.prod(shape[:-1])))
    if own == "depthwise_kernel":
        return x * np.float32(np.sqrt(6.0 / (shape[0] * shape[1])))
    if own == "gamma":
        return 1 + np.float32(0.1) * x
    if own == "moving_variance":
        return 1 + np.float32(0.3) * x
    return np.float32(0.1) * x


def leaf(layer, variable):
    depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
    return "depthwise_kernel" if depthwise and variable.name == "kernel" else variable.name


keras.config.set_floatx("float64")
keras.config.set_dtype_policy("float64")
found = {}
for name, build in NETWORKS.items():
    keras.backend.clear_session()
    model = build(include_top=False, weights=None, input_shape=(SIDE, SIDE, 3))
    for layer in model.layers:
        for variable in layer.weights:
            variable.assign(weight(layer.name, leaf(layer, variable), variable.shape))
    head = [keras.layers.Dense(units, name=named) for units, named in ((16, "dense_1"), (3, "predictions"))]
    inward = model.output.shape[-1]
    for layer in head:
        layer.build((None, inward))
        inward = layer.units
        for variable in layer.weights:
            variable.assign(weight(layer.name, variable.name, variable.shape))
    # Grey from 0 to 255, three times, scaled by (x / 127.5) - 1 for all: preprocessing has its own tests.
    grey = np.floor((noise(f"grey {SIDE}", (4, SIDE, SIDE, 1)).astype(np.float64) + 1) * 128)
    images = np.repeat(grey, 3, axis=-1) / 127.5 - 1.0
    targets = np.array([0, 2, 1, 2])
    with tf.GradientTape() as tape:
        pooled = keras.ops.mean(model(images, training=True), axis=(1, 2))
        logits = head[1](keras.ops.relu(head[0](pooled)))
        loss = keras.ops.mean(keras.losses.sparse_categorical_crossentropy(targets, logits, from_logits=True))
    owned = [(layer, variable) for layer in [*model.layers, *head] for variable in layer.trainable_weights]
    gradients = tape.gradient(loss, [variable.value for _, variable in owned])
    found[f"{name}/loss"] = np.float32([loss])
    for (layer, variable), gradient in zip(owned, gradients):
        found[f"{name}/{layer.name}/{leaf(layer, variable)}"] = np.float32([np.linalg.norm(np.asarray(gradient))])
    for layer in model.layers:
        for variable in layer.non_trainable_weights:
            found[f"{name}/{layer.name}/{variable.name}"] = np.float32([np.mean(np.asarray(variable.value))])

keras.config.set_floatx("float32")
keras.config.set_dtype_policy("float32")
rules = {
    "adam": keras.optimizers.Adam(learning_rate=1e-3, epsilon=1e-7),
    "adamw": keras.optimizers.AdamW(learning_rate=1e-3, epsilon=1e-7, weight_decay=0.1),
    "sgd": keras.optimizers.SGD(learning_rate=1e-2, momentum=0.9, nesterov=True),
    "clipped": keras.optimizers.Adam(learning_rate=1e-3, epsilon=1e-7, global_clipnorm=0.5),
}
for name, optimizer in rules.items():
    variable = keras.Variable(noise("adam", (16,)))
    optimizer.build([variable])
    steps = []
    for step in range(10):
        # From the fifth step on the gradients are tiny, so that epsilon tells.
        gradient = noise(f"gradient {step}", (16,)) * np.float32(10.0 ** -max(0, step - 4))
        optimizer.apply([keras.ops.convert_to_tensor(gradient)])
        steps.append(np.asarray(variable.value))
    found[f"steps/{name}"] = np.stack(steps)
save_file(found, HERE / "steps.safetensors")

"""Writes unet.safetensors: the U-Net of the paper in Keras, its probabilities, and the loss and gradients of a training step.

Written with Keras 3.15.1 on TensorFlow 2.21.0 (CPU), which `scripts/keras` installs:

    PYTHONPATH=$(scripts/keras) python3 tests/parity/unet.py

The network follows the description of reference 20 (see the docstring of `lungs.train`). Weights and images come from the formula of
gen.py, which src/torch/lungs/parity.rs computes too, so only Keras' answers are stored. The step is in float64 without dropout (its
draws are each library's own); probabilities are in float32 as users have them.
"""

import os
import pathlib

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from safetensors.numpy import save_file

HERE = pathlib.Path(__file__).parent
FILTERS = 4
SIDE = 48


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


def unet(filters, dropout):
    def convolutions(x, filters, rate):
        x = layers.Conv2D(filters, 3, activation="relu", kernel_initializer="he_normal", padding="same")(x)
        x = layers.Dropout(rate)(x) if dropout else x
        return layers.Conv2D(filters, 3, activation="relu", kernel_initializer="he_normal", padding="same")(x)

    inputs = x = layers.Input((None, None, 1))
    skips = []
    for block, rate in enumerate([0.1, 0.1, 0.2, 0.2, 0.3]):
        x = layers.MaxPooling2D(2)(x) if block else x
        x = convolutions(x, filters * 2**block, rate)
        skips.append(x)
    for block, rate in zip([3, 2, 1, 0], [0.2, 0.2, 0.1, 0.1]):
        x = layers.Conv2DTranspose(filters * 2**block, 2, strides=2, padding="same")(x)
        x = convolutions(layers.concatenate([x, skips[block]]), filters * 2**block, rate)
    return keras.Model(inputs, layers.Conv2D(1, 1, activation="sigmoid")(x))


def filled(dropout):
    keras.backend.clear_session()
    model = unet(FILTERS, dropout)
    for layer in model.layers:
        for variable in layer.weights:
            x = noise(f"{layer.name}/{variable.name}", variable.shape)
            if variable.name == "kernel":
                x = x * np.float32(np.sqrt(6.0 / np.prod(variable.shape[:-1])))
            else:
                x = x * np.float32(0.1)
            variable.assign(x)
    return model


found = {}
for filters in (16, 64):
    keras.backend.clear_session()
    found[f"parameters/{filters}"] = np.float32([unet(filters, True).count_params()])
images = ((noise("lungs", (2, SIDE, SIDE, 1)).astype(np.float64) + 1) * 128).astype(np.int64) / 255.0
probabilities = np.asarray(filled(True)(images.astype(np.float32), training=False))
flat = probabilities.reshape(-1)
found["probabilities"] = np.ascontiguousarray(flat[:: -(-len(flat) // 256)])

keras.config.set_floatx("float64")
keras.config.set_dtype_policy("float64")
model = filled(False)
masks = (noise("masks", (2, SIDE, SIDE, 1)) > 0).astype(np.float64)
with tf.GradientTape() as tape:
    shares = model(images, training=True)
    both = keras.ops.sum(shares * masks, axis=(1, 2, 3))
    dice = (2 * both + 1) / (keras.ops.sum(shares, axis=(1, 2, 3)) + keras.ops.sum(masks, axis=(1, 2, 3)) + 1)
    loss = keras.ops.mean(keras.losses.binary_crossentropy(masks, shares)) + 1 - keras.ops.mean(dice)
found["loss"] = np.float32([loss])
owned = [(layer, variable) for layer in model.layers for variable in layer.trainable_weights]
for (layer, variable), gradient in zip(owned, tape.gradient(loss, [variable.value for _, variable in owned])):
    found[f"gradient/{layer.name}/{variable.name}"] = np.float32([np.linalg.norm(np.asarray(gradient))])
save_file(found, HERE / "unet.safetensors")

"""Answers of Keras for tests/it/parity.rs: builds a network with random weights, and writes its files and features.

Reads requests from standard input, a line of JSON each:

    {"function": "ResNet50", "module": "resnet", "sides": [[32, 32], [75, 42]], "folder": "/tmp/…", "extra": ["top", "keras"]}

and answers each with a line of JSON once the folder holds `legacy.h5` (the layout of Keras 2), `v3.weights.h5`, and for each
of the sides `x0.npy` (uint8 or float32 RGB of 0 to 255) and `f0.npy` (the pooled features). Weights, and the statistics of
batch normalisation too, follow from the function's name. Extra files: `top.h5` and `p0.npy` (the classes' probabilities of a
whole model, for the first sides), `model.keras`, and `imagenet.h5` with `i0.npy` (as Keras loads the published weights of
EfficientNet, with one layer more).
"""

import json
import os
import pathlib
import sys
import zlib

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""
# Standard output is for answers.
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)

import h5py
import keras
import numpy as np
from keras.src.legacy.saving import legacy_h5_format


def weights(rng, model):
    """Weights under which activations neither die nor blow up."""
    for layer in model.layers:
        for variable in layer.weights:
            shape = tuple(variable.shape)
            name = variable.path.split("/")[-1]
            if len(shape) == 4:
                # A depthwise kernel [h, w, c, 1] sees one channel.
                fan = shape[0] * shape[1] if shape[3] == 1 else np.prod(shape[:-1])
                value = rng.normal(0, np.sqrt(1.6 / fan), shape)
            elif len(shape) == 2:
                value = rng.normal(0, np.sqrt(1 / shape[0]), shape)
            elif name == "gamma":
                value = rng.uniform(0.6, 1.2, shape)
            elif name in ("moving_variance", "variance"):
                value = rng.uniform(0.6, 1.6, shape)
            elif name == "count":
                value = np.array(7)
            else:
                value = rng.normal(0, 0.1, shape)
            variable.assign(value.astype(variable.dtype))
        if hasattr(layer, "finalize_state"):
            layer.finalize_state()


def legacy(model, place):
    with h5py.File(place, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, model)


def answer(function, module, sides, folder, extra):
    folder = pathlib.Path(folder)
    build = getattr(keras.applications, function)
    preprocess = getattr(keras.applications, module).preprocess_input
    rng = np.random.default_rng(zlib.crc32(function.encode()))
    values = None
    for number, (height, width) in enumerate(sides):
        # The shape is fixed, for Keras pads by it.
        model = build(include_top=False, weights=None, pooling="avg", input_shape=(height, width, 3))
        if values is None:
            weights(rng, model)
            values = model.get_weights()
            legacy(model, folder / "legacy.h5")
            model.save_weights(folder / "v3.weights.h5")
            if "keras" in extra:
                model.save(folder / "model.keras")
        model.set_weights(values)
        for layer in model.layers:
            if hasattr(layer, "finalize_state"):
                layer.finalize_state()
        x = rng.integers(0, 256, (2, height, width, 3)).astype(np.uint8 if number == 0 else np.float32)
        np.save(folder / f"x{number}.npy", x)
        np.save(folder / f"f{number}.npy", np.asarray(model(preprocess(x.astype(np.float32)), training=False)))
    # `count` of a normalisation is a parameter to Keras.
    found = {"parameters": model.count_params(), "layers": len(model.layers)}
    if "top" in extra:
        whole = build(include_top=True, weights=None, input_shape=(*sides[0], 3))
        weights(rng, whole)
        legacy(whole, folder / "top.h5")
        x = np.load(folder / "x0.npy").astype(np.float32)
        np.save(folder / "p0.npy", np.asarray(whole(preprocess(x), training=False)))
    if "imagenet" in extra:
        model = build(include_top=False, weights=None, pooling="avg", input_shape=(*sides[0], 3))
        model.set_weights(values)
        (normalisation,) = (layer for layer in model.layers if type(layer).__name__ == "Normalization")
        normalisation.set_weights([np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225]), np.int64(0)])
        legacy(model, folder / "imagenet.h5")
        keras.src.applications.efficientnet.file_utils.get_file = lambda *args, **named: str(folder / "imagenet.h5")
        model = build(include_top=False, weights="imagenet", pooling="avg", input_shape=(*sides[0], 3))
        x = np.load(folder / "x0.npy").astype(np.float32)
        np.save(folder / "i0.npy", np.asarray(model(x, training=False)))
    return found


for line in sys.stdin:
    request = json.loads(line)
    found = answer(**request)
    keras.backend.clear_session()
    print(json.dumps(found), file=answers, flush=True)

"""Answers of Keras for tests/it/keras.rs: builds a network with random weights, and writes its files and features.

Reads requests from standard input, a line of JSON each:

    {"name": "resnet50", "least": 32, "sides": [[32, 32], [75, 42]], "folder": "/tmp/…", "extra": ["top"]}

and answers each with a line of JSON once the folder holds `v3.weights.h5` (the layout of Keras 3), `legacy.h5` (that of Keras
2, from a second network of the process, so that numbered layers have other numbers), and for each of the sides `x0.npy` (RGB
of 0 to 255, uint8 for the first sides, float32 for the second) and `f0.npy` (the pooled features). Weights, and the statistics
of batch normalisation too, follow from the name. Extra files:

- `top`: `top.h5` and `p0.npy`, a whole model and the probabilities of its classes for the first sides;
- `keras`: `model.keras`;
- `old`: `old.h5`, the older layout with the names of another age, in Keras' order;
- `imagenet`: `imagenet.h5` and `i0.npy`, as Keras loads the published weights of EfficientNet, with one layer more.

Run with Keras 3.15.1 on TensorFlow 2.21.0 (CPU), which `scripts/keras` installs.
"""

import json
import os
import pathlib
import sys
import zlib

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""
# Standard output is for answers alone.
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)

import h5py
import keras
import numpy as np
from keras.src.legacy.saving import legacy_h5_format

FUNCTIONS = {name.lower(): one for name, one in vars(keras.applications).items() if callable(one)}


def fill(rng, model):
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
    settle(model)


def settle(model):
    """Lets layers that keep what follows from their variables look at them again."""
    for layer in model.layers:
        if hasattr(layer, "finalize_state"):
            layer.finalize_state()


def legacy(model, place):
    with h5py.File(place, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, model)


def old(source, place):
    """The older layout with names that no layer has today."""
    with h5py.File(source) as file, h5py.File(place, "w") as copy:
        names = []
        for number, name in enumerate(file.attrs["layer_names"]):
            names.append(f"layer{number}")
            group = copy.create_group(names[-1])
            weights = file[name].attrs["weight_names"]
            leaves = [f"{names[-1]}_W_{count}:0" for count in range(len(weights))]
            for leaf, weight in zip(leaves, weights):
                group[leaf] = file[name][weight][()]
            group.attrs["weight_names"] = [leaf.encode() for leaf in leaves]
        copy.attrs["layer_names"] = [name.encode() for name in names]


def refuses(build, side):
    try:
        build(include_top=False, weights=None, input_shape=(side, side, 3))
    except ValueError:
        return True
    return False


def answer(name, least, sides, folder, extra):
    folder = pathlib.Path(folder)
    build = FUNCTIONS[name]
    preprocess = sys.modules[build.__module__].preprocess_input
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    # The shape is fixed, for Keras pads by it.
    trunk = lambda side, weights=None: build(include_top=False, weights=weights, pooling="avg", input_shape=(*side, 3))
    first, second = (trunk(side) for side in sides)
    fill(rng, first)
    second.set_weights(first.get_weights())
    settle(second)
    first.save_weights(folder / "v3.weights.h5")
    legacy(second, folder / "legacy.h5")
    images = [
        rng.integers(0, 256, (2, *sides[0], 3)).astype(np.uint8),
        rng.uniform(0, 255, (2, *sides[1], 3)).astype(np.float32),
    ]
    for number, (model, x) in enumerate(zip((first, second), images)):
        np.save(folder / f"x{number}.npy", x)
        np.save(folder / f"f{number}.npy", np.asarray(model(preprocess(x.astype(np.float32)), training=False)))
    x = images[0].astype(np.float32)
    if "keras" in extra:
        first.save(folder / "model.keras")
    if "old" in extra:
        old(folder / "legacy.h5", folder / "old.h5")
    if "top" in extra:
        whole = build(include_top=True, weights=None, input_shape=(*sides[0], 3))
        fill(rng, whole)
        legacy(whole, folder / "top.h5")
        np.save(folder / "p0.npy", np.asarray(whole(preprocess(x.copy()), training=False)))
    if "imagenet" in extra:
        model = trunk(sides[0])
        model.set_weights(first.get_weights())
        (normalisation,) = (layer for layer in model.layers if type(layer).__name__ == "Normalization")
        normalisation.set_weights([np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225]), np.int64(0)])
        legacy(model, folder / "imagenet.h5")
        sys.modules[build.__module__].file_utils.get_file = lambda *args, **named: str(folder / "imagenet.h5")
        np.save(folder / "i0.npy", np.asarray(trunk(sides[0], "imagenet")(x, training=False)))
    return {"parameters": first.count_params(), "features": first.output.shape[-1], "least": refuses(build, least - 1)}


for line in sys.stdin:
    found = answer(**json.loads(line))
    keras.backend.clear_session()
    print(json.dumps(found), file=answers, flush=True)

"""Starting from another model's weights: of other categories, bins, sequence length or image size.

The position encoding of the image is computed, so another image size changes no weight. Another
vocabulary moves the rows of the token embedding: classes keep their row, coordinates are
interpolated where the number of bins differs.
"""

import dataclasses
import os

import keras
import numpy as np

from pix2seq_model.errors import ModelError
from pix2seq_model.model_folder.folder import ModelInfo, load_model_folder
from pix2seq_model.network.config import ModelConfig
from pix2seq_model.tokens.vocabulary import Vocabulary

# Weights with one row (or entry) per token, and the one with a row per position.
_PER_TOKEN = ("token_embedding", "output_embedding", "output_bias")
_PER_POSITION = "position_embedding"


@dataclasses.dataclass(frozen=True)
class Transfer:
    """The result for each weight; paths as in "decoder/token_embedding".

    Attributes:
      taken: copied as they are.
      resized: copied in part or interpolated, with what was done.
      left_out: of the new network, left as initialised, with the reason.
    """

    taken: list[str]
    resized: list[str]
    left_out: list[str]

    def text(self) -> str:
        """A few lines for people."""
        lines = [f"{len(self.taken)} weights taken"]
        lines += [f"resized: {line}" for line in self.resized]
        lines += [f"left as initialised: {line}" for line in self.left_out]
        return "\n  ".join(lines)


def take_base_weights(
    network: keras.Model, folder: str | os.PathLike
) -> tuple[Transfer, ModelInfo]:
    """Copies what fits of a model folder's weights into a network.

    Args:
      network: a Pix2Seq.
      folder: the model folder to start from.

    Returns:
      What was done, and the description of the folder's model.

    Raises:
      ModelError: the folder cannot be used, or none of its weights fits.
    """
    base, info = load_model_folder(os.fspath(folder))
    values = {path_in_network(w): keras.ops.convert_to_numpy(w) for w in base.weights}
    transfer = transfer_weights(
        network, values, old_vocabulary=info.vocabulary, new_vocabulary=network.vocabulary
    )
    ours = network.model_config
    same_width = info.model.dim_encoder == ours.dim_encoder or (
        info.model.dim_decoder == ours.dim_decoder
    )
    # Where both widths differ, the biases of the vocabulary are all that could fit.
    if not transfer.taken or not same_width:
        raise ModelError(
            f"No weight of {folder} fits this network: it is {_shape(info.model)}, the config's "
            f"model is {_shape(network.model_config)}. Set the config's model to the same "
            "architecture, or start from another model."
        )
    return transfer, info


def transfer_weights(
    network: keras.Model,
    values: dict[str, np.ndarray],
    *,
    old_vocabulary: Vocabulary,
    new_vocabulary: Vocabulary,
) -> Transfer:
    """Sets the weights of `network` from another network's.

    Args:
      network: takes the values.
      values: of the other network, by path below the network's name.
      old_vocabulary, new_vocabulary: of the other network and of this one.
    """
    transfer = Transfer(taken=[], resized=[], left_out=[])
    for weight in network.weights:
        path, shape = path_in_network(weight), tuple(weight.shape)
        name = path.rsplit("/", 1)[-1]
        value = values.get(path)
        rows_fit = value is not None and value.shape[1:] == shape[1:]
        if value is None:
            transfer.left_out.append(f"{path}: the base model has no such weight")
        elif rows_fit and name in _PER_TOKEN and old_vocabulary != new_vocabulary:
            initial = keras.ops.convert_to_numpy(weight)
            weight.assign(_move_rows(value, initial, old_vocabulary, new_vocabulary))
            transfer.resized.append(f"{path}: rows moved to the new vocabulary, {shape}")
        elif value.shape == shape:
            weight.assign(value)
            transfer.taken.append(path)
        elif rows_fit and name == _PER_POSITION:
            initial = np.array(keras.ops.convert_to_numpy(weight))
            rows = min(len(value), len(initial))
            initial[:rows] = value[:rows]
            weight.assign(initial)
            transfer.resized.append(f"{path}: the first {rows} of {shape[0]} positions taken")
        else:
            transfer.left_out.append(f"{path}: {value.shape} in the base model, {shape} here")
    return transfer


def _move_rows(
    value: np.ndarray, initial: np.ndarray, old: Vocabulary, new: Vocabulary
) -> np.ndarray:
    """Rows of the new vocabulary: special and class tokens copied, coordinates interpolated."""
    moved = np.array(initial)
    classes = min(old.coord_shift, new.coord_shift)
    moved[:classes] = value[:classes]
    bins = value[old.coord_shift : old.coord_shift + old.num_bins].astype(np.float64)
    place = np.linspace(0, old.num_bins - 1, new.num_bins)
    below = np.minimum(np.floor(place).astype(int), old.num_bins - 2)
    share = (place - below).reshape(-1, *[1] * (bins.ndim - 1))
    between = bins[below] * (1 - share) + bins[below + 1] * share
    moved[new.coord_shift : new.coord_shift + new.num_bins] = between.astype(moved.dtype)
    return moved


def path_in_network(weight: keras.Variable) -> str:
    """Path below the network: "pix2seq_1/decoder/output_bias" -> "decoder/output_bias"."""
    return weight.path.split("/", 1)[1]


def _shape(config: ModelConfig) -> str:
    return (
        f"{config.backbone} with encoder width {config.dim_encoder} and decoder width "
        f"{config.dim_decoder}"
    )

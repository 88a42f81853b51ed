"""Where the decoder looks in the image while it predicts each token.

The tokens are given, not generated: their own, to see where objects come from, or boxes of one's
choice, to see where the class of a given box is read (figures of arXiv:2109.10852).
"""

from typing import Any

import numpy as np
from keras import ops

from pix2seq_model.network.pix2seq import Pix2Seq
from pix2seq_model.tokens.vocabulary import CLASS_SHIFT, DETECTION_PROMPT


def cross_attention_maps(model: Pix2Seq, images: Any, tokens_BL: np.ndarray) -> np.ndarray:
    """Attention to the image, averaged over layers and heads.

    Args:
      model: the network.
      images: (B, height, width, 3) float in [0, 1].
      tokens_BL: (B, L) int, such as `generate` returns; without the prompt.

    Returns:
      (B, L, rows, columns) float32: at l the attention of the step that predicts token l. Sums to
      1 over the map, less what goes to a class token.
    """
    mean_BLN = np.mean(raw_cross_attention(model, images, tokens_BL), axis=(1, 2))
    rows, columns = model.encoder.map_size
    # A class token, if any, comes before the positions of the map.
    positions_BLN = mean_BLN[..., -rows * columns :]
    return positions_BLN.reshape(*mean_BLN.shape[:2], rows, columns)


def raw_cross_attention(model: Pix2Seq, images: Any, tokens_BL: np.ndarray) -> np.ndarray:
    """Attention to the image of every layer and head.

    Args:
      model, images, tokens_BL: see `cross_attention_maps`.

    Returns:
      (B, layers, heads, L, N) float32, N being the positions of the map row by row, behind the
      class token if the model has one. A large array: 0.3 GB for one 640 px image and 500 tokens
      of ViT-B.
    """
    encoded_BND = model.encode(ops.convert_to_tensor(images))
    layers = model.decoder.cross_attention(
        ops.convert_to_tensor(_input_tokens(tokens_BL)), encoded_BND
    )
    return np.stack(
        [ops.convert_to_numpy(ops.cast(weights, "float32")) for weights in layers], axis=1
    )


def likeliest_categories(
    model: Pix2Seq, images: Any, tokens_BL: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What the step that predicts the last token says of the object's class.

    Args:
      model, images, tokens_BL: see `cross_attention_maps`; the last token, a class, is not read.

    Returns:
      (B,) int32 category ids and (B,) float32 probabilities under the full softmax.
    """
    encoded_BND = model.encode(ops.convert_to_tensor(images))
    logits_BLV = model.decode(ops.convert_to_tensor(_input_tokens(tokens_BL)), encoded_BND)
    classes_BC = ops.convert_to_numpy(ops.softmax(logits_BLV[:, -1]))[
        :, CLASS_SHIFT : model.vocabulary.coord_shift
    ]
    return np.argmax(classes_BC, axis=-1).astype(np.int32), np.max(classes_BC, axis=-1)


def _input_tokens(tokens_BL: np.ndarray) -> np.ndarray:
    """The prompt and all tokens but the last: what predicts each of them."""
    tokens_BL = np.asarray(tokens_BL)
    prompt_B1 = np.full((len(tokens_BL), 1), DETECTION_PROMPT, tokens_BL.dtype)
    return np.concatenate([prompt_B1, tokens_BL[:, :-1]], axis=1)

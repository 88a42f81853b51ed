"""Fixed sine and cosine encoding of positions in an image.

Formula: angle(position, i) = position / 10000^(2 * floor(i / 2) / dim) for channel i of dim, as in
"Attention Is All You Need" (arXiv:1706.03762); the sines of the even channels come first, then the
cosines of the odd ones. Rows and columns are stretched to 0..2 pi, the last one included, so that
the encodings of a large and a small image cover the same range: weights serve any image size.
"""

import numpy as np

_LAST_POSITION = 6.2831852  # 2 pi as the published code writes it.


def image_position_encoding(num_rows: int, num_columns: int, *, dim: int) -> np.ndarray:
    """Encoding of a map's positions.

    The first half of the channels encodes the row, the second half the column. A map of a single
    row or column is a sequence and takes the one-dimensional encoding over all channels.

    Args:
      num_rows, num_columns: size of the map.
      dim: number of channels; even unless the map is a single row or column.

    Returns:
      (num_rows * num_columns, dim) float32, row by row.
    """
    if num_rows == 1 or num_columns == 1:
        return sequence_position_encoding(num_rows * num_columns, dim=dim)
    rows = np.repeat(sequence_position_encoding(num_rows, dim=dim // 2), num_columns, axis=0)
    columns = np.tile(sequence_position_encoding(num_columns, dim=dim // 2), (num_rows, 1))
    return np.concatenate([rows, columns], axis=-1)


def sequence_position_encoding(length: int, *, dim: int) -> np.ndarray:
    """Encoding of positions stretched to 0..2 pi: (length, dim) float32."""
    # A single position has no last one to stretch to.
    positions = np.arange(length) / max(length - 1, 1) * _LAST_POSITION
    channels = np.arange(dim)
    angles = positions[:, np.newaxis] / 10000.0 ** (2 * (channels // 2) / dim)
    encoding = np.concatenate([np.sin(angles[:, 0::2]), np.cos(angles[:, 1::2])], axis=-1)
    return encoding.astype(np.float32)

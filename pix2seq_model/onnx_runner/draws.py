"""Random numbers of an image: `decoding.sampling.draw_uniform`, in NumPy, to the bit.

Philox-4x32 with ten rounds, as in Salmon et al., "Parallel random numbers: as easy as 1, 2, 3"
(2011), seeded as TensorFlow's `stateless_uniform(alg="philox")` does.
"""

import numpy as np

_FACTORS = (0xD2511F53, 0xCD9E8D57)
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10
# With this key TensorFlow scrambles a seed of two 64-bit numbers into key and counter.
_SCRAMBLE_KEY = (0x3EC8F720, 0x02461E29)
_LOW = np.uint64(0xFFFFFFFF)


def draw_uniform(seed: int, keys_B: np.ndarray, length: int) -> np.ndarray:
    """The numbers that decide `length` tokens of each image.

    Args:
      seed: of all.
      keys_B: (B,) int64, a number of each image.
      length: number of tokens.

    Returns:
      (B, length) float32 in [0, 1).
    """
    rows = [_uniform_of(seed, int(key), length) for key in keys_B]
    return np.stack(rows) if rows else np.empty((0, length), np.float32)


def _uniform_of(seed: int, image_key: int, length: int) -> np.ndarray:
    words = [part >> shift & 0xFFFFFFFF for part in (seed, image_key) for shift in (0, 32)]
    mixed = [int(word) for word in _philox(np.array([words], np.uint64), _SCRAMBLE_KEY)[0]]
    blocks = -(-length // 4)
    # A 128-bit counter whose upper half the seed gives.
    counters = np.zeros((blocks, 4), np.uint64)
    counters[:, 0] = np.arange(blocks)
    counters[:, 2:] = mixed[2:]
    bits = _philox(counters, (mixed[0], mixed[1])).reshape(-1)[:length]
    # The lower 23 bits as the fraction of a float32 in [1, 2).
    fraction = (bits & np.uint64(0x7FFFFF)).astype(np.uint32) | np.uint32(127 << 23)
    return fraction.view(np.float32) - np.float32(1)


def _philox(counters_N4: np.ndarray, key: tuple[int, int]) -> np.ndarray:
    """(N, 4) uint64 of 32 bits each."""
    c0, c1, c2, c3 = counters_N4.T
    for round_ in range(_ROUNDS):
        k0, k1 = (
            np.uint64((part + round_ * step) & 0xFFFFFFFF) for part, step in zip(key, _KEY_STEPS)
        )
        first, second = c0 * np.uint64(_FACTORS[0]), c2 * np.uint64(_FACTORS[1])
        c0, c2 = (second >> np.uint64(32)) ^ c1 ^ k0, (first >> np.uint64(32)) ^ c3 ^ k1
        c1, c3 = second & _LOW, first & _LOW
    return np.stack([c0, c1, c2, c3], axis=1)

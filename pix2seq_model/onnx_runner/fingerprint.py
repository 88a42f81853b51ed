"""FarmHash's 64-bit fingerprint, of which an image's random numbers follow, in Python.

The algorithm is `farmhash::Fingerprint64` (farmhashna::Hash64 of Google's FarmHash), which
TensorFlow's `Fingerprint` computes. A megapixel takes a fifth of a second: sampled decoding alone
asks for it.
"""

import struct

_MASK = (1 << 64) - 1
_K0, _K1, _K2 = 0xC3A5C85C97CB3127, 0xB492B66FBE98F273, 0x9AE16A3B2F90404F
_BLOCK = struct.Struct("<8Q")
_BLOCK_BYTES = 64


def fingerprint64(data: bytes) -> int:
    """The fingerprint of some bytes, as a signed 64-bit number."""
    if len(data) > _BLOCK_BYTES:
        digest = _long(data)
    elif len(data) > 32:
        digest = _up_to_64(data)
    elif len(data) > 16:
        digest = _up_to_32(data)
    else:
        digest = _up_to_16(data)
    return digest - (1 << 64) if digest >> 63 else digest


def _word(data: bytes, at: int, size: int = 8) -> int:
    """The little-endian number at a place; a negative place counts from the end."""
    start = at if at >= 0 else len(data) + at
    return int.from_bytes(data[start : start + size], "little")


def _rotate(value: int, bits: int) -> int:
    """Rotated to the right, of what is left of `value` in 64 bits."""
    value &= _MASK
    return value >> bits | (value << (64 - bits)) & _MASK


def _shift_mix(value: int) -> int:
    value &= _MASK
    return value ^ value >> 47


def _mix(u: int, v: int, factor: int) -> int:
    a = _shift_mix((u ^ v) * factor)
    return _shift_mix((v ^ a) * factor) * factor & _MASK


def _up_to_16(data: bytes) -> int:
    size = len(data)
    factor = _K2 + 2 * size
    if size >= 8:
        a, b = _word(data, 0) + _K2 & _MASK, _word(data, -8)
        c = _rotate(b, 37) * factor + a & _MASK
        d = (_rotate(a, 25) + b) * factor & _MASK
        return _mix(c, d, factor)
    if size >= 4:
        return _mix(size + (_word(data, 0, 4) << 3), _word(data, -4, 4), factor)
    if size:
        y = data[0] + (data[size // 2] << 8)
        z = size + (data[-1] << 2)
        return _shift_mix(y * _K2 ^ z * _K0) * _K2 & _MASK
    return _K2


def _up_to_32(data: bytes) -> int:
    factor = _K2 + 2 * len(data)
    a, b = _word(data, 0) * _K1 & _MASK, _word(data, 8)
    c, d = _word(data, -8) * factor & _MASK, _word(data, -16) * _K2 & _MASK
    u = _rotate(a + b, 43) + _rotate(c, 30) + d & _MASK
    v = a + _rotate(b + _K2, 18) + c & _MASK
    return _mix(u, v, factor)


def _up_to_64(data: bytes) -> int:
    factor = _K2 + 2 * len(data)
    a, b = _word(data, 0) * _K2 & _MASK, _word(data, 8)
    c, d = _word(data, -8) * factor & _MASK, _word(data, -16) * _K2 & _MASK
    y = _rotate(a + b, 43) + _rotate(c, 30) + d & _MASK
    z = _mix(y, a + _rotate(b + _K2, 18) + c & _MASK, factor)
    e, f = _word(data, 16) * factor & _MASK, _word(data, 24)
    g, h = (y + _word(data, -32)) * factor & _MASK, (z + _word(data, -24)) * factor & _MASK
    u = _rotate(e + f, 43) + _rotate(g, 30) + h & _MASK
    v = e + _rotate(f + a, 18) + g & _MASK
    return _mix(u, v, factor)


def _long(data: bytes) -> int:
    last = (len(data) - 1) % _BLOCK_BYTES
    whole = memoryview(data)[: len(data) - 1 - last]
    seed = 81
    x = seed * _K2 + _word(data, 0) & _MASK
    y = seed * _K1 + 113 & _MASK
    z = _shift_mix(y * _K2 + 113) * _K2 & _MASK
    state: tuple[int, ...] = (x, y, z, 0, 0, 0, 0)
    for block in _BLOCK.iter_unpack(whole):
        state = _round(state, block, _K1, 1)
    x, y, z, v0, v1, w0, w1 = state
    factor = _K1 + ((z & 0xFF) << 1)
    # The last 64 bytes, of which the loop has seen all but `last + 1`.
    w0 = w0 + last & _MASK
    v0 = v0 + w0 & _MASK
    w0 = w0 + v0 & _MASK
    block = _BLOCK.unpack(data[-_BLOCK_BYTES:])
    x, y, z, v0, v1, w0, w1 = _round((x, y, z, v0, v1, w0, w1), block, factor, 9)
    u = _mix(v0, w0, factor) + _shift_mix(y) * _K0 + z & _MASK
    return _mix(u, _mix(v1, w1, factor) + x & _MASK, factor)


def _round(
    state: tuple[int, ...], block: tuple[int, ...], factor: int, weight: int
) -> tuple[int, ...]:
    """One block of eight numbers through the state."""
    x, y, z, v0, v1, w0, w1 = state
    b0, b1, b2, b3, b4, b5, b6, b7 = block
    x = x + y + v0 + b1 & _MASK
    x = ((x >> 37 | x << 27) & _MASK) * factor & _MASK
    y = y + v1 + b6 & _MASK
    y = ((y >> 42 | y << 22) & _MASK) * factor & _MASK
    x ^= w1 * weight & _MASK
    y = y + v0 * weight + b5 & _MASK
    z = z + w0 & _MASK
    z = ((z >> 33 | z << 31) & _MASK) * factor & _MASK
    # Two halves of 32 bytes, each into a pair of the state.
    a = v1 * factor + b0 & _MASK
    b, c = x + w0 + a + b3 & _MASK, a + b1 + b2 & _MASK
    v0 = c + b3 & _MASK
    v1 = ((b >> 21 | b << 43) & _MASK) + ((c >> 44 | c << 20) & _MASK) + a & _MASK
    a = z + w1 + b4 & _MASK
    b, c = y + b2 + a + b7 & _MASK, a + b5 + b6 & _MASK
    w0 = c + b7 & _MASK
    w1 = ((b >> 21 | b << 43) & _MASK) + ((c >> 44 | c << 20) & _MASK) + a & _MASK
    return z, y, x, v0, v1, w0, w1

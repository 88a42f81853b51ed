"""`gpu.sh decode`: objects from images at several batch sizes, and flash attention checked.

    python -m benchmarks.gpu.decode --output=FOLDER [--tiny]

In bfloat16, greedily, each sequence to its full length. Writes FOLDER/decode.json after each row.
"""

import argparse
import concurrent.futures
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.device import device_name
from benchmarks.gpu.attention import compared
from benchmarks.gpu.sizes import FULL, TINY, Sizes
from pix2seq_model.atomic_write import write_json
from pix2seq_model.decoding.generate import decoder_for, encoder_for
from pix2seq_model.decoding.settings import DecodeSettings
from pix2seq_model.network.pix2seq import build_model

_REPEATS = 3


def measure(sizes: Sizes, write: Callable[[dict[str, Any]], None]) -> None:
    """Measures all; hands what there is so far to `write` after each row."""
    found: dict[str, Any] = {"device": device_name(), "batches": [], "attention": []}
    for row in decoding_rows(sizes):
        found["batches"].append(row)
        write(found)
    for shape in sizes.attention:
        found["attention"].append(compared(shape))
        write(found)


def decoding_rows(sizes: Sizes):
    """A row for every batch size; all are compiled, at the same time, before the first."""
    run = sizes.decoder.run()
    network = build_model(run.model, run.vocabulary, precision="bfloat16")
    settings = DecodeSettings(max_objects=sizes.decode_objects, top_k=1, stop_at_end=False)
    encode, decode = encoder_for(network), decoder_for(network, settings)

    def whole(images):
        # Greedy decoding looks at no random numbers.
        uniform_BL = np.zeros((len(images), settings.num_tokens), np.float32)
        return decode(encode(images), uniform_BL, np.zeros(len(images), bool))

    size = run.model.image_size
    batches = {
        number: jax.device_put(np.random.default_rng(0).random((number, *size, 3), np.float32))
        for number in sizes.decode_batches
    }
    with concurrent.futures.ThreadPoolExecutor() as pool:
        first = [pool.submit(whole, images) for images in batches.values()]
        for call in first:
            jax.block_until_ready(call.result())
    for number, images in batches.items():
        encoder_s = _median_seconds(encode, images)
        whole_s = _median_seconds(whole, images)
        yield {
            "network": sizes.decoder.name,
            "batch_size": number,
            "tokens": settings.num_tokens,
            "encoder_ms": 1e3 * encoder_s,
            "decoder_ms": 1e3 * (whole_s - encoder_s),
            "ms_per_token": 1e3 * (whole_s - encoder_s) / settings.num_tokens,
            "images_per_s": number / whole_s,
        }


def _median_seconds(function: Callable[[Any], Any], images: Any) -> float:
    times = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        jax.block_until_ready(function(images))
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="folder of decode.json")
    parser.add_argument("--tiny", action="store_true", help="to be tried on a processor")
    given = parser.parse_args(arguments)
    measure(
        TINY if given.tiny else FULL,
        lambda found: write_json(given.output / "decode.json", found, indent=1),
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

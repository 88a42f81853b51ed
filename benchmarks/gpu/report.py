"""Joins what the parts of `gpu.sh` found: gpu.json, and gpu.md with tables for the README.

python -m benchmarks.gpu.report --output=FOLDER
"""

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pix2seq_model.atomic_write import write_atomically, write_json

PARTS = ("step", "decode", "train")
_SCOPES = 16


def markdown(found: Mapping[str, Any]) -> str:
    """Tables of the parts that were run.

    Args:
      found: what each part has written, by its name.
    """
    pages = {"step": _step, "decode": _decode, "train": _train}
    return "\n\n".join(pages[part](found[part]) for part in PARTS if part in found) + "\n"


def _step(found: Mapping[str, Any]) -> str:
    texts = []
    machine = found.get("machine")
    if machine:
        peak = machine["peak_tflops"]
        stated = f"; the maker's peak, of which utilisation is, {peak:g}" if peak else ""
        texts.append(
            f"{machine['device']}, JAX {machine['jax']}: a product of bfloat16 matrices reaches "
            f"{machine['product_tflops']:.4g} TFLOP/s, a copy {machine['copy_tb_per_s']:.3g} TB/s"
            f"{stated}."
        )
    if found["failed"]:
        texts.append(f"Failed: {', '.join(found['failed'])}.")
    heads = (
        *("network", "px", "batch", "plain loop, ms", "real loop, ms", "real / plain"),
        *("images/s", "TFLOP/s", "utilisation", "peak GiB", "flash kernels", "compiled in, s"),
    )
    rows = [
        (
            *(row["network"], row["image_size"][0], row["batch_size"]),
            *(_ms(row["plain_ms"]), _ms(row["loop_ms"]), f"{row['loop_to_plain']:.3f}"),
            *(_number(row["images_per_s"]), _number(row["tflops"]), _share(row["utilisation"])),
            *(f"{row['peak_gib']:.1f}", row["flash_kernels"], f"{row['compile_s']:.0f}"),
        )
        for row in found["networks"]
    ]
    texts.append(_table(heads, rows))
    for row in found["networks"]:
        kernels = [
            (kernel["scope"], _way(kernel["backward"]), _ms(kernel["ms"]), f"{kernel['kernels']:g}")
            for kernel in row["kernels"][:_SCOPES]
        ]
        busy = sum(kernel["ms"] for kernel in row["kernels"])
        texts.append(f"{row['network']}: kernels of a step, {_ms(busy)} ms in all.")
        texts.append(_table(("scope", "way", "ms", "kernels"), kernels))
    return "\n\n".join(texts)


def _decode(found: Mapping[str, Any]) -> str:
    heads = ("network", "batch", "tokens", "encoder, ms", "decoder, ms", "ms a token", "images/s")
    rows = [
        (
            *(row["network"], row["batch_size"], row["tokens"], _ms(row["encoder_ms"])),
            *(_ms(row["decoder_ms"]), f"{row['ms_per_token']:.3f}", _number(row["images_per_s"])),
        )
        for row in found["batches"]
    ]
    ways = ("plain", "flash")
    fields = ("forward_ms", "both_ms", "forward_error", "backward_error")
    attention = []
    for row in found["attention"]:
        cells = [row[way].get(field) for field in fields for way in ways]
        texts = [
            "" if cell is None else _ms(cell) if index < 4 else f"{cell:.1e}"
            for index, cell in enumerate(cells)
        ]
        refused = row["flash"].get("refused", "")
        attention.append((row["shape"], *texts, refused))
    named = [
        f"{name}, {way}"
        for name in ("forward ms", "forward and backward ms", "error", "error of gradients")
        for way in ways
    ]
    return "\n\n".join(
        [_table(heads, rows), _table(("attention", *named, "no flash because"), attention)]
    )


def _train(found: Mapping[str, Any]) -> str:
    heads = ("precision", "seed", "steps", "seconds", "images/s", "loss", "AP")
    rows = [
        (
            *(row["precision"], row["seed"], row["steps"], f"{row['seconds']:.0f}"),
            *(_number(row["images_per_s"]), f"{row['loss']:.3f}", _ap(row["ap"])),
        )
        for row in found["runs"]
    ]
    summary = found["summary"]
    texts = [_table(heads, rows)]
    if summary["agree"] is None:
        texts.append("No AP of two seeds of both precisions: nothing is said of their agreement.")
    else:
        word = "within" if summary["agree"] else "NOT within"
        texts.append(
            f"The mean APs differ by {summary['difference']:.3f}, {word} the range of the seeds, "
            f"{summary['spread']:.3f}."
        )
    return "\n\n".join(texts)


def _table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def _ms(value: float) -> str:
    return f"{value:.4g}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _share(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f} %"


def _ap(value: float | None) -> str:
    return "not scored" if value is None else f"{value:.3f}"


def _way(backward: bool | None) -> str:
    return "" if backward is None else "backward" if backward else "forward"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="folder of the parts' files")
    folder = parser.parse_args(arguments).output
    files = {part: folder / f"{part}.json" for part in PARTS}
    found = {part: json.loads(file.read_text()) for part, file in files.items() if file.is_file()}
    if not found:
        print(f"{folder} has none of {', '.join(f.name for f in files.values())}", file=sys.stderr)
        return 1
    write_json(folder / "gpu.json", found, indent=1)
    write_atomically(folder / "gpu.md", markdown(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

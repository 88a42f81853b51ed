"""The data report: what is in a data set and what was wrong with it, as one HTML file.

Made from the manifest, the histograms that the conversion counted, and a few records; no image
but those shown is read, so a report on millions takes seconds.
"""

import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from etils import epath

from pix2seq_model.atomic_write import write_atomically
from pix2seq_model.data import box_statistics
from pix2seq_model.data.defects import EXPLANATIONS
from pix2seq_model.data.manifest import STATISTICS_FILE, DatasetInfo, read_dataset_info
from pix2seq_model.errors import DataError
from pix2seq_model.reports import charts
from pix2seq_model.reports.data_pictures import defect_examples, sample_pictures
from pix2seq_model.reports.html import render_page
from pix2seq_model.tokens.vocabulary import TOKENS_PER_OBJECT

FILE_NAME = "data_report.html"
SEQUENCE_LIMIT = 100
_EXAMPLES_OF_A_RULE = 3


def _size_text(num_bytes: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if num_bytes >= size:
            return f"{num_bytes / size:.1f} {unit}"
    return f"{num_bytes} bytes"


def _read_statistics(directory: str) -> dict[str, Any]:
    path = epath.Path(directory) / STATISTICS_FILE
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}); convert the data set again") from None


def _per_image(statistics: Mapping[str, Any]) -> dict[int, int]:
    return {int(count): images for count, images in statistics["objects_per_image"].items()}


def _objects_chart(per_image: Mapping[int, int], split: str) -> str:
    most = max([*per_image, 1])
    step = max(1, -(-(most + 1) // 40))
    edges = np.arange(0, most + step + 1, step) - 0.5
    counts, _ = np.histogram(list(per_image), bins=edges, weights=list(per_image.values()))
    marks = [(SEQUENCE_LIMIT + 0.5, "one sequence")] if most > SEQUENCE_LIMIT * 0.6 else []
    return charts.histogram_chart(
        edges.tolist(),
        counts.tolist(),
        title=f"{split}: objects per image",
        x_label="objects in an image, crowds not counted",
        y_label="images",
        marks=marks,
    )


def _shown(
    edges: np.ndarray, counts: list[int], *, least: tuple[float, float] | None = None
) -> tuple[list[float], list[int]]:
    """Cuts off the empty bins at both ends; those between the two numbers of `least` stay."""
    filled = np.array(counts) > 0
    if least is not None:
        filled |= (edges[:-1] >= least[0]) & (edges[1:] <= least[1])
    if not filled.any():
        return edges[:2].tolist(), counts[:1]
    first, last = np.flatnonzero(filled)[[0, -1]]
    return edges[first : last + 2].tolist(), counts[first : last + 1]


def _over_the_limit(per_image: Mapping[int, int]) -> str:
    """Says how many images have more objects than one sequence holds."""
    over = {count: images for count, images in per_image.items() if count > SEQUENCE_LIMIT}
    if not over:
        return f"No image has more than the {SEQUENCE_LIMIT} objects that one sequence holds."
    images = sum(over.values())
    lost = sum((count - SEQUENCE_LIMIT) * number for count, number in over.items())
    have = "1 image has" if images == 1 else f"{images:,} images have"
    return (
        f"{have} more than the {SEQUENCE_LIMIT} objects that one sequence holds, which leaves out "
        f"{lost:,} boxes each time."
    )


def _lengths_chart(per_image: Mapping[int, int], split: str) -> str:
    """How many tokens a sequence needs to hold all objects of an image."""
    counts = sorted(per_image)
    shares = 100 * np.cumsum([per_image[count] for count in counts]) / sum(per_image.values())
    lengths = [TOKENS_PER_OBJECT * count for count in counts]
    limit = TOKENS_PER_OBJECT * SEQUENCE_LIMIT
    end = max(1.1 * limit, 1.05 * lengths[-1])
    # A share holds until the next longer sequence: steps, not slopes.
    steps_x, steps_y = np.repeat([*lengths, end], 2)[1:], np.repeat([*shares, shares[-1]], 2)[:-1]
    return charts.line_chart(
        [
            charts.Line("", [limit, limit], [0, 100], color=charts.MUTED, dashed=True),
            charts.Line("", steps_x.tolist(), steps_y.tolist(), color=charts.COLORS[4]),
        ],
        title=f"{split}: sequence lengths",
        x_label="tokens of a sequence",
        y_label="images whose objects fit, %",
        x_range=(0, end),
        y_range=(0, 102),
    )


def _lengths_note(per_image: Mapping[int, int]) -> str:
    counts = sorted(per_image)
    images = np.cumsum([per_image[count] for count in counts])
    half, most = (
        TOKENS_PER_OBJECT * counts[int(np.searchsorted(images, part * images[-1]))]
        for part in (0.5, 0.95)
    )
    return (
        f"An object takes {TOKENS_PER_OBJECT} tokens: half of the images need at most {half}, "
        f"95 % at most {most}. {_over_the_limit(per_image)}"
    )


def _charts(statistics: Mapping[str, Any], split: str) -> list[dict[str, str]]:
    per_image = _per_image(statistics)
    num_images = sum(per_image.values())
    num_boxes = sum(statistics["areas"])
    areas = ", ".join(
        f"{count / max(num_boxes, 1):.0%} {name}"
        for name, count in zip(box_statistics.AREA_NAMES, statistics["areas"], strict=True)
    )
    grid = np.array(statistics["centers"]).reshape(box_statistics.GRID, box_statistics.GRID)
    sizes = _shown(box_statistics.SIZE_EDGES, statistics["sizes"], least=(16, 64))
    aspects = _shown(box_statistics.ASPECT_EDGES, statistics["aspects"], least=(0.25, 4))
    sides = _shown(box_statistics.SIDE_EDGES, statistics["sides"], least=(256, 1024))
    return [
        {
            "title": "Objects per image",
            "note": f"{num_boxes / max(num_images, 1):.1f} in the mean, at most {max(per_image)}.",
            "svg": _objects_chart(per_image, split),
        },
        {
            "title": "Sequence lengths",
            "note": _lengths_note(per_image),
            "svg": _lengths_chart(per_image, split),
        },
        {
            "title": "Box sizes",
            "note": f"By COCO's measure {areas}.",
            "svg": charts.histogram_chart(
                *sizes,
                title=f"{split}: box sizes",
                x_label="square root of the box's area, pixels",
                y_label="boxes",
                log_x=True,
                marks=[(edge, "") for edge in (32, 96) if sizes[0][0] < edge < sizes[0][-1]],
            ),
        },
        {
            "title": "Aspect ratios",
            "note": "1 is square; to the right lie wide boxes.",
            "svg": charts.histogram_chart(
                *aspects,
                title=f"{split}: aspect ratios",
                x_label="width / height",
                y_label="boxes",
                log_x=True,
                color=charts.COLORS[2],
            ),
        },
        {
            "title": "Where boxes are",
            "note": "Their centres, over all images.",
            "svg": charts.heat_map(
                grid.tolist(), title=f"{split}: centres", color=charts.COLORS[1]
            ),
        },
        {
            "title": "Image sizes",
            "note": f"{num_images:,} images.",
            "svg": charts.histogram_chart(
                *sides,
                title=f"{split}: image sizes",
                x_label="longer side, pixels",
                y_label="images",
                log_x=True,
                color=charts.COLORS[3],
            ),
        },
    ]


def _classes(statistics: Mapping[str, Any], names: Mapping[int, str]) -> list[dict[str, Any]]:
    boxes, images = statistics["classes"], statistics["images_with_class"]
    total = max(sum(boxes.values()), 1)
    most = max([*boxes.values(), 1])
    rows = [
        {
            "id": number,
            "name": name,
            "boxes": boxes.get(str(number), 0),
            "images": images.get(str(number), 0),
            "part": boxes.get(str(number), 0) / total,
            "share": f"{100 * boxes.get(str(number), 0) / most:.1f}%",
        }
        for number, name in names.items()
    ]
    return sorted(rows, key=lambda row: (-row["boxes"], row["id"]))


def _defects(directory: str, info: DatasetInfo) -> list[dict[str, Any]]:
    """Each rule that applied: its counts by split and a few of its rows."""
    rules: dict[str, dict[str, Any]] = {}
    for split, split_info in info.splits.items():
        examples = defect_examples(directory, split, split_info, count=_EXAMPLES_OF_A_RULE)
        for kind in ("images", "annotations"):
            rows = split_info.counts[kind]
            for action in ("dropped", "changed"):
                for rule, count in rows[action].items():
                    entry = rules.setdefault(
                        rule,
                        {
                            "rule": rule,
                            "kind": kind,
                            "action": "dropped" if action == "dropped" else "kept",
                            "meaning": EXPLANATIONS.get(rule, ""),
                            "counts": {},
                            "examples": [],
                        },
                    )
                    entry["counts"][split] = (count, count / max(rows["rows_in"], 1))
                    entry["examples"] += examples.get(rule, [])
    order = {rule: place for place, rule in enumerate(EXPLANATIONS)}
    return sorted(rules.values(), key=lambda entry: order.get(entry["rule"], len(order)))


def render_data_report(directory: str | os.PathLike[str], *, num_pictures: int = 12) -> str:
    """Returns the report on an examples folder as HTML text.

    Raises:
      DataError: the folder holds no finished data set, or a shard is damaged.
    """
    folder = os.fspath(directory)
    info = read_dataset_info(folder)
    statistics = _read_statistics(folder)
    names = info.category_names()
    splits = []
    for split, split_info in info.splits.items():
        per_image = _per_image(statistics[split])
        splits.append(
            {
                "name": split,
                "info": split_info,
                "size": _size_text(split_info.num_bytes),
                "crowd": statistics[split]["crowd"],
                "without_boxes": per_image.get(0, 0),
                "counts": split_info.counts,
                "charts": _charts(statistics[split], split) if per_image else [],
                "classes": _classes(statistics[split], names),
                "pictures": sample_pictures(folder, info, split, count=num_pictures),
            }
        )
    context = {
        "info": info,
        "fingerprint": info.fingerprint(),
        "splits": splits,
        "defects": _defects(folder, info),
    }
    return render_page("data_report.html", context, filters={"number": lambda value: f"{value:,}"})


def write_data_report(
    directory: str | os.PathLike[str],
    path: str | os.PathLike[str] | None = None,
    *,
    num_pictures: int = 12,
) -> str:
    """Writes the report on an examples folder, into that folder if no path is given.

    Returns:
      Where it was written.

    Raises:
      DataError: as `render_data_report`.
    """
    target = epath.Path(path) if path else epath.Path(directory) / FILE_NAME
    write_atomically(target, render_data_report(directory, num_pictures=num_pictures))
    return os.fspath(target)

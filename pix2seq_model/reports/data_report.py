"""The data report: what is in a data set and what was wrong with it, as one HTML file.

Made from the manifest, the histograms that the conversion counted, and a few records; only the
images that are shown are read, so a report on millions takes seconds.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from pix2seq_model.atomic_write import write_atomically
from pix2seq_model.data import box_statistics
from pix2seq_model.data.defects import EXPLANATIONS
from pix2seq_model.data.manifest import DatasetInfo, SplitInfo, read_dataset_info, read_statistics
from pix2seq_model.reports import charts
from pix2seq_model.reports.data_pictures import defect_examples, sample_pictures
from pix2seq_model.reports.html import render_page
from pix2seq_model.tokens.settings import SequenceSettings
from pix2seq_model.tokens.vocabulary import TOKENS_PER_OBJECT

FILE_NAME = "data_report.html"
SEQUENCE_LIMIT = SequenceSettings().max_objects
_NUM_PICTURES, _EXAMPLES_OF_A_RULE = 12, 3


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
        xlabel="objects in an image, crowds not counted",
        ylabel="images",
        marks=marks,
    )


def _log_histogram(
    edges: np.ndarray,
    counts: list[int],
    *,
    least: tuple[float, float],
    marks: Sequence[float] = (),
    **chart: Any,
) -> str:
    """Without the empty bins at both ends; those between the two numbers of `least` stay."""
    kept = (np.array(counts) > 0) | ((edges[:-1] >= least[0]) & (edges[1:] <= least[1]))
    first, last = np.flatnonzero(kept)[[0, -1]]
    shown = edges[first : last + 2].tolist()
    return charts.histogram_chart(
        shown,
        counts[first : last + 1],
        log_x=True,
        marks=[(mark, "") for mark in marks if shown[0] < mark < shown[-1]],
        **chart,
    )


def _over_the_limit(per_image: Mapping[int, int]) -> str:
    """Says how many images have more objects than one sequence holds."""
    over = box_statistics.crowded_images(per_image, max_objects=SEQUENCE_LIMIT)
    return f"{over or f'No image has more than the {SEQUENCE_LIMIT} objects of one sequence'}."


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
        xlabel="tokens of a sequence",
        ylabel="images whose objects fit, %",
        xlim=(0, end),
        ylim=(0, 102),
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


def _charts(
    statistics: Mapping[str, Any], per_image: Mapping[int, int], split: str
) -> list[tuple[str, str, str]]:
    """Title, note and SVG of each chart."""
    num_images, num_boxes = sum(per_image.values()), sum(statistics["areas"])
    areas = ", ".join(
        f"{count / max(num_boxes, 1):.0%} {name}"
        for name, count in zip(box_statistics.AREA_NAMES, statistics["areas"], strict=True)
    )
    grid = np.array(statistics["centers"]).reshape(box_statistics.GRID, box_statistics.GRID)
    sizes = _log_histogram(
        box_statistics.SIZE_EDGES,
        statistics["sizes"],
        least=(16, 64),
        marks=(32, 96),
        title=f"{split}: box sizes",
        xlabel="square root of the box's area, pixels",
        ylabel="boxes",
    )
    aspects = _log_histogram(
        box_statistics.ASPECT_EDGES,
        statistics["aspects"],
        least=(0.25, 4),
        title=f"{split}: aspect ratios",
        xlabel="width / height",
        ylabel="boxes",
        color=charts.COLORS[2],
    )
    centers = charts.heat_map(grid.tolist(), title=f"{split}: centres", color=charts.COLORS[1])
    sides = _log_histogram(
        box_statistics.SIDE_EDGES,
        statistics["sides"],
        least=(256, 1024),
        title=f"{split}: image sizes",
        xlabel="longer side, pixels",
        ylabel="images",
        color=charts.COLORS[3],
    )
    mean = f"{num_boxes / max(num_images, 1):.1f} in the mean, at most {max(per_image)}."
    return [
        ("Objects per image", mean, _objects_chart(per_image, split)),
        ("Sequence lengths", _lengths_note(per_image), _lengths_chart(per_image, split)),
        ("Box sizes", f"By COCO's measure {areas}.", sizes),
        ("Aspect ratios", "1 is square; wide boxes are to the right.", aspects),
        ("Where boxes are", "Their centres, over all images.", centers),
        ("Image sizes", f"{num_images:,} images.", sides),
    ]


def _classes(
    statistics: Mapping[str, Any], names: Mapping[int, str]
) -> list[tuple[int, str, int, int]]:
    """Id, name, boxes and images of each class, the most boxes first."""
    boxes, images = statistics["classes"], statistics["images_with_class"]
    rows = [
        (number, name, boxes.get(str(number), 0), images.get(str(number), 0))
        for number, name in names.items()
    ]
    return sorted(rows, key=lambda row: (-row[2], row[0]))


def _defects(directory: str, info: DatasetInfo) -> list[dict[str, Any]]:
    """Each rule that applied: its counts by split, of how many rows, and a few of its rows."""
    rules: dict[str, dict[str, Any]] = {}
    for name, split in info.splits.items():
        examples = defect_examples(directory, name, split, count=_EXAMPLES_OF_A_RULE)
        for kind, action, rule, count in split.applied_rules():
            new = {"rule": rule, "action": action, "counts": {}, "examples": []}
            entry = rules.setdefault(rule, new)
            entry["counts"][name] = (count, split.counts[kind]["rows_in"])
            entry["examples"] += examples.get(rule, [])
    order = [*EXPLANATIONS, *rules]
    return sorted(rules.values(), key=lambda entry: order.index(entry["rule"]))


def _in_use(split: tuple[str, SplitInfo]) -> tuple[int, str]:
    """The order of splits on the page: what is learned from first."""
    known = ("train", "val", "test")
    return (known.index(split[0]) if split[0] in known else len(known), split[0])


def render_data_report(directory: str | os.PathLike[str]) -> str:
    """Returns the report on an examples folder as HTML text.

    Raises:
      DataError: the folder holds no finished data set, or a shard is damaged.
    """
    folder = os.fspath(directory)
    info = read_dataset_info(folder)
    statistics = read_statistics(folder)
    splits = []
    for name, split in sorted(info.splits.items(), key=_in_use):
        counted = statistics[name]
        per_image = {int(count): images for count, images in counted["objects_per_image"].items()}
        splits.append(
            {
                "name": name,
                "info": split,
                "crowd": counted["crowd"],
                "without_boxes": per_image.get(0, 0),
                "charts": _charts(counted, per_image, name) if per_image else [],
                "classes": _classes(counted, info.category_names()),
                "pictures": sample_pictures(folder, info, name, count=_NUM_PICTURES),
            }
        )
    defects = _defects(folder, info)
    return render_page(
        FILE_NAME,
        info=info,
        place=os.fspath(directory),
        splits=splits,
        defects=defects,
        meanings=EXPLANATIONS,
    )


def write_data_report(
    directory: str | os.PathLike[str], path: str | os.PathLike[str] | None = None
) -> str:
    """Writes the report on an examples folder, into that folder if no path is given.

    Returns:
      Where it was written.

    Raises:
      DataError: as `render_data_report`.
    """
    target = epath.Path(path) if path else epath.Path(directory) / FILE_NAME
    write_atomically(target, render_data_report(directory))
    return os.fspath(target)

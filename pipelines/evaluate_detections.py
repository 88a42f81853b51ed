"""COCO numbers of any detector's results: the 12 numbers, per-class numbers, a report.

    python pipelines/evaluate_detections.py --ground_truth=instances_val2017.json \\
        --detections=results.json --output=evaluation --images=val2017

Detections that `pipelines/predict.py` wrote know their images' file names: where ids differ, images
are matched by these, and nothing is computed where none fits. --match=id trusts the ids.

Writes metrics.json and report.html into the output folder. The numbers are pycocotools' to every
digit that counts; --engine=pycocotools computes them with pycocotools itself.
"""

import sys
from os.path import dirname

sys.path.append(dirname(dirname(__file__)))  # The project need not be installed.
import pipelines.cli.guard  # noqa: F401 - explains imports that fail

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from absl import flags
from etils import epath

from pipelines.cli.command_line import flag_values, run_command
from pipelines.cli.place_flags import define_place, define_places
from pix2seq_model.atomic_write import write_atomically, write_json
from pix2seq_model.data.annotation_file import read_annotation_file
from pix2seq_model.data.matched_images import MATCHES, match_images
from pix2seq_model.errors import DataError
from pix2seq_model.metrics.coco_files import checked_detections, read_json
from pix2seq_model.metrics.coco_metrics import (
    ENGINES,
    beyond_the_limit,
    evaluate_detections,
    metrics_table,
)
from pix2seq_model.prediction.output_folder import is_of_predict
from pix2seq_model.regular_file import irregular_kind
from pix2seq_model.reports.evaluation_report import ReportInput, render_report
from pix2seq_model.reports.settings import NUM_PICTURES, REPORT_FILE

FLAGS = flags.FLAGS

define_place("ground_truth", None, "Annotation file in COCO's format.", required=True)
define_place("detections", None, "COCO results file.", required=True)
define_place("output", None, "Folder to write.", required=True)
define_places("image_ids", [], "Only these images: ids, or one file with an id on each line.")
flags.DEFINE_enum("engine", "hotcoco", ENGINES, "What computes the numbers.")
flags.DEFINE_enum("match", "auto", MATCHES, "How an image is known: by its file name or its id.")
define_place("images", "", "Folder of the images, for pictures in the report.")
flags.DEFINE_integer("num_pictures", NUM_PICTURES, "Pictures in the report.", lower_bound=0)


def main() -> None:
    file = read_annotation_file(FLAGS.ground_truth)
    truth = file.coco
    matched = match_images(
        read_json(FLAGS.detections, surrogates=True),
        file,
        images=_images_beside(FLAGS.detections),
        match=FLAGS.match,
        source=FLAGS.detections,
    )
    detections = checked_detections(file.numbered(matched.rows), source=FLAGS.detections)
    image_ids = read_image_ids(FLAGS.image_ids, file.image_numbers)
    result = evaluate_detections(truth, detections, image_ids=image_ids, engine=FLAGS.engine)
    if image_ids is not None:
        chosen = set(image_ids)
        for kind, key in (("images", "id"), ("annotations", "image_id")):
            truth = {**truth, kind: [row for row in truth[kind] if row[key] in chosen]}
        detections = [row for row in detections if row["image_id"] in chosen]
    facts = flag_values("ground_truth", "detections", "engine")
    output = epath.Path(FLAGS.output)
    write_json(output / "metrics.json", {**result.to_json(), **facts})
    page = render_report(
        ReportInput(
            title=epath.Path(FLAGS.detections).name,
            facts={name.replace("_", " ").capitalize(): fact for name, fact in facts.items()},
            ground_truth=truth,
            detections=detections,
            result=result,
            read_images=_reader(FLAGS.images, truth) if FLAGS.images else None,
            num_pictures=FLAGS.num_pictures,
        )
    )
    write_atomically(output / REPORT_FILE, page)
    print(metrics_table(result.to_json()))
    print("".join(f"\n{note}" for note in matched.notes), end="\n" * bool(matched.notes))
    keys = {number: key for key, number in file.category_numbers.items()}
    for number, count in result.ignored_categories.items():
        print(f"{count} detections of category {keys[number]}, which the truth does not list")
    if defects := file.defects():
        print(f"\n{FLAGS.ground_truth}: rows set aside or changed\n{defects}")
    if note := beyond_the_limit(truth):
        print(f"\n{note}")
    print(f"\nmetrics: {output / 'metrics.json'}\nreport:  {output / REPORT_FILE}")


def _images_beside(detections: str) -> Any:
    """What lists the images in a folder that `predict` wrote; None elsewhere."""
    folder = epath.Path(detections).parent
    if not is_of_predict(folder):
        return None
    try:
        return read_json(folder / "images.json", surrogates=True)
    except DataError:
        return None


def read_image_ids(words: list[str], numbers: Mapping[str, int]) -> list[int] | None:
    """The numbers of ids given on the command line, or in one file; None where none are given."""
    if not words:
        return None
    source = "--image_ids"
    if len(words) == 1 and words[0] not in numbers and not words[0].strip().isdecimal():
        source = words[0]
        try:
            if kind := irregular_kind(source):
                raise DataError(f"--image_ids={source} {kind}; name a file")
            words = epath.Path(words[0]).read_text().split()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"--image_ids={source}: neither an id nor a file ({error})") from None
    ids = [word.strip() for word in words]
    if unknown := [text for text in ids if text not in numbers]:
        raise DataError(
            f"{source}: {len(unknown)} are not images of the ground truth, among them "
            f"[{', '.join(unknown[:5])}]"
        )
    return [numbers[text] for text in ids]


def _reader(folder: str, truth: Mapping[str, Any]) -> Callable[[Iterable[int]], dict[int, bytes]]:
    """Reads images of a folder by id; one that is not there is left out of the report."""
    root = epath.Path(folder)
    if not root.is_dir():
        raise DataError(f"--images={folder}: no such folder")
    names = {row["id"]: row.get("file_name", "") for row in truth["images"]}

    def read(image_ids: Iterable[int]) -> dict[int, bytes]:
        found = {}
        for image_id in image_ids:
            for path in (root / names[image_id], root / names[image_id].rsplit("/", 1)[-1]):
                if names[image_id] and path.is_file():
                    found[image_id] = path.read_bytes()
                    break
        return found

    return read


if __name__ == "__main__":
    run_command(main, takes_more=False)

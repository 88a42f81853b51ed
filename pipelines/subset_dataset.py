"""Writes the annotation file of a few images of a data set, for a trial that ends in minutes.

    python pipelines/subset_dataset.py --annotations=instances_train2017.json --output=few.json \\
        --num_images=8 --max_objects=7
"""

import sys
from os.path import dirname

sys.path.append(dirname(dirname(__file__)))  # The project need not be installed.
import pipelines.cli.guard  # noqa: F401 - explains imports that fail

from typing import Any

from absl import flags

from pipelines.cli.command_line import flag_values, run_command
from pipelines.cli.place_flags import define_place
from pix2seq_model.atomic_write import write_json
from pix2seq_model.data.annotation_file import AnnotationFile, read_annotation_file
from pix2seq_model.data.subset import choose_images

FLAGS = flags.FLAGS

define_place("annotations", None, "COCO annotation file to choose from.", required=True)
define_place("output", None, "Annotation file to write.", required=True)
flags.DEFINE_integer("num_images", 8, "How many images.", lower_bound=1)
flags.DEFINE_integer("max_objects", 7, "Most objects of an image.", lower_bound=1)


def main() -> None:
    file = read_annotation_file(FLAGS.annotations)
    limits = flag_values("num_images", "max_objects")
    few = choose_images(file.coco, source=FLAGS.annotations, **limits)
    write_json(FLAGS.output, _with_own_ids(few, file))
    print(f"{FLAGS.output}: {len(few['images'])} images, {len(few['annotations'])} objects")


def _with_own_ids(few: dict[str, Any], file: AnnotationFile) -> dict[str, Any]:
    """Rows with the file's ids where those are text, which were numbered to be read."""
    images, categories = (
        {number: text for text, number in numbers.items() if text != str(number)}
        for numbers in (file.image_numbers, file.category_numbers)
    )
    own_ids = {"images": {"id": images}, "categories": {"id": categories}}
    own_ids["annotations"] = {"image_id": images, "category_id": categories}
    return few | {
        array: [
            {**row, **{key: texts.get(row[key], row[key]) for key, texts in keys.items()}}
            for row in few[array]
        ]
        for array, keys in own_ids.items()
    }


if __name__ == "__main__":
    run_command(main, takes_more=False)

"""Writes the annotation file of a few images of a data set, for a trial that ends in minutes.

    python pipelines/subset_dataset.py --annotations=instances_train2017.json --output=few.json \\
        --num_images=8 --max_objects=7
"""

from absl import flags

from pipelines.cli.command_line import run_command
from pix2seq_model.atomic_write import write_json
from pix2seq_model.data.subset import choose_images
from pix2seq_model.errors import ConfigError
from pix2seq_model.metrics.coco_files import read_ground_truth

FLAGS = flags.FLAGS

flags.DEFINE_string("annotations", "", "COCO annotation file to choose from")
flags.DEFINE_string("output", "", "annotation file to write")
flags.DEFINE_integer("num_images", 8, "how many images", lower_bound=1)
flags.DEFINE_integer("max_objects", 7, "most objects of an image", lower_bound=1)


def main(arguments: list[str]) -> None:
    if arguments:
        raise ConfigError(f"unknown arguments {arguments}.")
    for name in ("annotations", "output"):
        if not FLAGS[name].value:
            raise ConfigError(f"--{name} is missing.")
    content = read_ground_truth(FLAGS.annotations)
    few = choose_images(
        content,
        num_images=FLAGS.num_images,
        max_objects=FLAGS.max_objects,
        source=FLAGS.annotations,
    )
    write_json(FLAGS.output, few)
    print(f"{FLAGS.output}: {len(few['images'])} images, {len(few['annotations'])} objects")


if __name__ == "__main__":
    run_command(main)

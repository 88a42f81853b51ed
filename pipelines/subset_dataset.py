"""Writes the annotation file of a few images of a data set, for a trial that ends in minutes.

    python pipelines/subset_dataset.py --annotations=instances_train2017.json --output=few.json \\
        --num_images=8 --max_objects=7
"""

from absl import flags

from pipelines.cli.command_line import flag_values, run_command
from pix2seq_model.atomic_write import write_json
from pix2seq_model.data.subset import choose_images
from pix2seq_model.metrics.coco_files import read_ground_truth

FLAGS = flags.FLAGS

flags.DEFINE_string("annotations", None, "COCO annotation file to choose from.", required=True)
flags.DEFINE_string("output", None, "Annotation file to write.", required=True)
flags.DEFINE_integer("num_images", 8, "How many images.", lower_bound=1)
flags.DEFINE_integer("max_objects", 7, "Most objects of an image.", lower_bound=1)


def main() -> None:
    content = read_ground_truth(FLAGS.annotations)
    limits = flag_values("num_images", "max_objects")
    few = choose_images(content, source=FLAGS.annotations, **limits)
    write_json(FLAGS.output, few)
    print(f"{FLAGS.output}: {len(few['images'])} images, {len(few['annotations'])} objects")


if __name__ == "__main__":
    run_command(main, takes_more=False)

"""Detects the objects of your own images: results as JSON, drawn pictures, a contact sheet.

    python pipelines/predict.py --model=demo/pipeline/serving_model --images=photos,more.zip \\
        --output=found

--images takes files, folders, patterns (quoted: 'photos/*.jpg', and 'photos/**/*.jpg' for those in
the folders below too), zip archives and gs:// addresses; video files, and a camera by its number
(--images=0, until Ctrl-C), whose frames are images then and come back as a video with boxes;
--every=5 looks at each fifth of them. Hidden files and the pictures of this command are left out.
--model takes a model folder, a pushed version, a published checkpoint, a SavedModel or an exported
ONNX folder. Each image is written as soon as it is done; what cannot be read is listed in
unreadable.json, the rest is done. --score_threshold=0 keeps every detection, as AP needs.
--format=coco,yolo,csv writes label files of YOLO and a table as well. --tile=640 looks at larger
images in overlapping squares too, for small objects. --attention draws where the decoder looks for
the first five objects of each image; it needs a model folder.
"""

import sys
from os.path import dirname

sys.path.append(dirname(dirname(__file__)))  # The project need not be installed.
import pipelines.cli.guard  # noqa: F401 - explains imports that fail

import os

from absl import flags

from pipelines.cli.command_line import flag_values, run_command
from pipelines.cli.decoding_flags import (
    decoding_settings,
    define_detection_flags,
    settle_score_threshold,
)
from pipelines.cli.place_flags import define_place, define_places
from pix2seq_model.api import find_model, load
from pix2seq_model.data.settings import MAX_PIXELS
from pix2seq_model.prediction.image_sources import EndingFilter, find_images, left_out_text
from pix2seq_model.prediction.output_folder import FORMATS
from pix2seq_model.prediction.predict import Prediction, predict
from pix2seq_model.prediction.video_frames import find_videos

FLAGS = flags.FLAGS

define_detection_flags()
define_places(
    "images",
    None,
    "Files, folders, patterns, zip archives, videos, a camera's number.",
    required=True,
)
flags.DEFINE_integer("every", 1, "Of so many frames of a video look at one.", lower_bound=1)
flags.DEFINE_boolean("pictures", True, "Write pictures and the contact sheet.")
flags.DEFINE_integer("max_pixels", MAX_PIXELS, "Larger images are left out.", lower_bound=1)
flags.DEFINE_boolean("attention", False, "Write pictures of what the decoder looks at.")
flags.DEFINE_list("format", ["coco"], f"Of the results: {', '.join(FORMATS)}; COCO's always.")
flags.DEFINE_integer("tile", 0, "Side in pixels of squares to look at too; 0: none.", lower_bound=0)
flags.DEFINE_boolean("overwrite", False, "Write among files that this command did not write.")
define_place(
    "categories", "", "Of a checkpoint without names: an annotation file, or an examples folder."
)
flags.DEFINE_boolean("trust", False, "Run a SavedModel that is not of this project.")


def main() -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    settle_score_threshold()
    endings = EndingFilter(output=FLAGS.output)
    places, videos = find_videos(FLAGS.images, every=FLAGS.every, endings=endings)
    sources = find_images(places, endings=endings) if places or not videos else []
    find_model(FLAGS.model, trust=FLAGS.trust)  # Before TensorFlow, which takes seconds.
    precision = FLAGS.precision if FLAGS["precision"].present else ""
    done = predict(
        lambda: (
            load(
                FLAGS.model,
                precision=precision,
                **flag_values("batch_size", "trust", "categories"),
                **decoding_settings(),
            ).detector
        ),
        sources,
        videos=videos,
        output_dir=FLAGS.output,
        draw=FLAGS.pictures,
        formats=FLAGS.format,
        **flag_values("score_threshold", "attention", "tile", "overwrite", "max_pixels", "model"),
    )
    print(f"{_described(done)}: {FLAGS.output}")
    if done.num_turned:
        print(
            f"{_images(done.num_turned)} turned upright, as EXIF says: width, height and boxes are "
            "those of the upright image"
        )
    if endings.left_out.total():
        print(left_out_text(endings.left_out))
    if done.unreadable:
        print(f"{_images(len(done.unreadable))} could not be read or drawn:")
        for location, reason in done.unreadable[:10]:
            print(f"  {location}: {reason}")
        if len(done.unreadable) > 10:
            print(f"  ... all of them in {FLAGS.output}/unreadable.json")


def _described(done: Prediction) -> str:
    detections = f"{done.num_detections:,} detection{'s' * (done.num_detections != 1)}"
    looked_at = _images(done.num_images)
    if done.num_frames:
        looked_at += f" ({done.num_frames:,} of them frames of videos)"
    parts = [looked_at, f"{detections}", f"{done.milliseconds:,.0f} ms an image"]
    if done.num_below:
        parts.append(f"{done.num_below:,} below --score_threshold={FLAGS.score_threshold:g}")
    if done.best_score is None:
        parts.append("nothing at lower scores either")
    else:
        parts.append(f"the best score {done.best_score:.3f}")
    return ", ".join(parts)


def _images(number: int) -> str:
    return "1 image" if number == 1 else f"{number:,} images"


if __name__ == "__main__":
    run_command(main, takes_more=False)

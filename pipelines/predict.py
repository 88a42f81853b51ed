"""Detects the objects of your own images: results as JSON, drawn pictures, a contact sheet.

    python pipelines/predict.py --model=demo/pipeline/serving_model --images=photos,more.zip \\
        --output=found

--images takes files, folders, zip archives and gs:// addresses. What cannot be read is listed in
unreadable.json, the rest is done. --score_threshold=0 keeps every detection, as AP needs.
--attention draws where the decoder looks for the first five objects of each image; like the rest it
needs a model folder, because a SavedModel does not return it.
"""

from absl import flags

from pipelines.cli.command_line import flag_values, run_command
from pipelines.cli.decoding_flags import (
    decoding_settings,
    define_detection_flags,
    settle_score_threshold,
)
from pix2seq_model.data.settings import MAX_PIXELS
from pix2seq_model.prediction.image_sources import EndingFilter, find_images, left_out_text

FLAGS = flags.FLAGS

define_detection_flags()
flags.DEFINE_list("images", None, "Files, folders, zip archives.", required=True)
flags.DEFINE_boolean("pictures", True, "Write pictures and the contact sheet.")
flags.DEFINE_integer("max_pixels", MAX_PIXELS, "Larger images are left out.", lower_bound=1)
flags.DEFINE_boolean("attention", False, "Write pictures of what the decoder looks at.")


def main() -> None:
    settle_score_threshold()
    endings = EndingFilter()
    sources = find_images(FLAGS.images, endings=endings)
    # TensorFlow: not before the flags are right.
    from pix2seq_model.prediction.predict import predict

    done = predict(
        FLAGS.model,
        sources,
        output_dir=FLAGS.output,
        draw=FLAGS.pictures,
        **flag_values("score_threshold", "batch_size", "attention", "precision", "max_pixels"),
        **decoding_settings(),
    )
    detections = f"{done.num_detections:,} detection{'s' * (done.num_detections != 1)}"
    print(f"{_images(done.num_images)}, {detections}: {FLAGS.output}")
    if done.num_turned:
        print(
            f"{_images(done.num_turned)} turned upright, as EXIF says: width, height and boxes are "
            "those of the upright image"
        )
    if endings.left_out.total():
        print(left_out_text(endings.left_out))
    if done.unreadable:
        print(f"{_images(len(done.unreadable))} could not be read:")
        for location, reason in done.unreadable[:10]:
            print(f"  {location}: {reason}")
        if len(done.unreadable) > 10:
            print(f"  ... all of them in {FLAGS.output}/unreadable.json")


def _images(number: int) -> str:
    return "1 image" if number == 1 else f"{number:,} images"


if __name__ == "__main__":
    run_command(main, takes_more=False)

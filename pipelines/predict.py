"""Detects the objects of your own images: results as JSON, drawn pictures, a contact sheet.

    python pipelines/predict.py --model=demo/pipeline/serving_model --images=photos,more.zip \\
        --output=found

--images takes files, folders, zip archives and gs:// addresses. What cannot be read is listed in
unreadable.json, the rest is done. --score_threshold=0 keeps every detection, as AP needs.
--attention draws where the decoder looks; like the rest it needs a model folder, for a SavedModel
does not tell.
"""

from absl import flags

from pipelines.cli.command_line import run_command
from pipelines.cli.decoding_flags import decoding_settings
from pix2seq_model.errors import ConfigError
from pix2seq_model.prediction.image_sources import find_images

_MODEL = flags.DEFINE_string("model", None, "Model folder, or a pushed version.", required=True)
_IMAGES = flags.DEFINE_list("images", None, "Files, folders, zip archives.", required=True)
_OUTPUT = flags.DEFINE_string("output", None, "Folder to write.", required=True)
_SCORE = flags.DEFINE_float(
    "score_threshold", 0.3, "Least score of what is written and drawn.", 0.0, 1.0
)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 8, "Images decoded together.", lower_bound=1)
_PRECISION = flags.DEFINE_enum(
    "precision", "float32", ["float32", "bfloat16"], "Of the network; bfloat16 is for accelerators."
)
_PICTURES = flags.DEFINE_boolean("pictures", True, "Write pictures and the contact sheet.")
_ATTENTION = flags.DEFINE_boolean(
    "attention",
    False,
    "Write pictures of what the decoder looks at for the first five objects of each image.",
)


def main(beam_arguments: list[str]) -> None:
    if beam_arguments:
        raise ConfigError(f"there is no flag {beam_arguments[0]}")
    sources = find_images(_IMAGES.value)
    from pix2seq_model.prediction.predict import (
        predict,  # TensorFlow: not before the flags are right
    )

    done = predict(
        _MODEL.value,
        sources,
        output_dir=_OUTPUT.value,
        score_threshold=_SCORE.value,
        batch_size=_BATCH_SIZE.value,
        draw=_PICTURES.value,
        attention=_ATTENTION.value,
        precision=_PRECISION.value,
        **decoding_settings(),
    )
    detections = f"{done.num_detections:,} detection{'s' * (done.num_detections != 1)}"
    print(f"{_images(done.num_images)}, {detections}: {_OUTPUT.value}")
    if done.unreadable:
        print(f"{_images(len(done.unreadable))} could not be read:")
        for location, reason in done.unreadable[:10]:
            print(f"  {location}: {reason}")
        if len(done.unreadable) > 10:
            print(f"  ... all of them in {_OUTPUT.value}/unreadable.json")


def _images(number: int) -> str:
    return "1 image" if number == 1 else f"{number:,} images"


if __name__ == "__main__":
    run_command(main)

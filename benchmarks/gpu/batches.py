"""Turns records into arrays, for `gpu.sh train` on a machine without TensorFlow.

    python -m benchmarks.gpu.batches --examples=demo/pipeline/FinetuneExamples/examples/ID \\
        --output=build/gpu/batches.npz

The file holds the first batches of the training input, over which training then goes round and
round, the images of the split to evaluate on with their truth, the random numbers that their tokens
are sampled with, and the config. Pixels are rounded to 8 bits. By default the config is the
demonstration's fine-tuning, longer, as it starts from random weights.
"""

import argparse
import dataclasses
import itertools
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gpu.sizes import STAGE
from pix2seq_model.errors import ConfigError, UserError
from pix2seq_model.experiment import load_config
from pix2seq_model.experiment.validation import training_run
from pix2seq_model.training.settings import TrainingRun

# As much as travels with a working tree without trouble.
_LARGEST_MB = 40
_DEMO = (f"{STAGE}.steps=2000", f"{STAGE}.learning_rate=1.5e-3", f"{STAGE}.steps_per_log=100")


@dataclasses.dataclass(frozen=True)
class Batches:
    """What the file holds.

    Attributes:
      config, overrides: of the training.
      train: `image` uint8 (batches, B, H, W, 3), `tokens`, `targets`, `weights`
        (batches, B, L).
      val: `image` uint8 (N, H, W, 3), `uniform` float32 (N, tokens), `image_id` int64 (N,),
        `source_size`, `content_size` int32 (N, 2).
      truth: of these images, in COCO's format.
      category_numbers: id in `truth` by the model's category id.
    """

    config: str
    overrides: list[str]
    train: Mapping[str, np.ndarray]
    val: Mapping[str, np.ndarray]
    truth: dict[str, Any]
    category_numbers: dict[int, int]

    def run(self, *overrides: str) -> TrainingRun:
        """The training, with further overrides."""
        config = load_config(self.config, [*self.overrides, *overrides], stage=STAGE)
        return training_run(config, STAGE)

    def endless(self) -> Iterator[tuple]:
        """Batches as the training input has them, again and again."""
        train = self.train
        for number in itertools.cycle(range(len(train["image"]))):
            inputs = {
                "image": train["image"][number],
                "tokens": train["tokens"][number].astype(np.int32),
            }
            yield inputs, train["targets"][number].astype(np.int32), train["weights"][number]

    def save(self, path: Path) -> float:
        """Writes the file; returns its size in MB."""
        text = {
            name: getattr(self, name)
            for name in ("config", "overrides", "truth", "category_numbers")
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(
            path,
            text=np.array(json.dumps(text)),
            **{f"train_{name}": array for name, array in self.train.items()},
            **{f"val_{name}": array for name, array in self.val.items()},
        )
        return path.stat().st_size / 1e6

    @classmethod
    def load(cls, path: Path) -> "Batches":
        """Reads the file.

        Raises:
          ConfigError: there is none.
        """
        if not path.is_file():
            raise ConfigError(
                f"{path}: there is no such file; python -m benchmarks.gpu.batches makes it, on a "
                "machine with TensorFlow and records"
            )
        with np.load(path) as file:
            arrays = {name: file[name] for name in file.files}
        text = json.loads(str(arrays.pop("text")))
        text["category_numbers"] = {int(k): v for k, v in text["category_numbers"].items()}
        parts = {
            part: {
                name.removeprefix(f"{part}_"): array
                for name, array in arrays.items()
                if name.startswith(f"{part}_")
            }
            for part in ("train", "val")
        }
        return cls(**text, **parts)


def read_batches(config: str, overrides: list[str], examples: Path, *, number: int) -> Batches:
    """The first batches of a training on records, and the split to evaluate on.

    Args:
      config, overrides: of the training.
      examples: examples folder.
      number: of batches.
    """
    # Only here: these need TensorFlow, which the machine that trains has not.
    from pix2seq_model.data.ground_truth import read_split_truth
    from pix2seq_model.decoding.sampling import draw_uniform
    from pix2seq_model.input_pipeline.datasets import evaluation_dataset, training_dataset

    run = training_run(load_config(config, overrides, stage=STAGE), STAGE)
    settings, evaluation = run.settings, run.evaluation
    dataset = training_dataset(
        examples,
        split=settings.split,
        vocabulary=run.vocabulary,
        image_size=settings.image_size,
        batch_size=settings.images_per_batch,
        seed=run.seed,
        augmentation=settings.augmentation,
        sequence=settings.sequence,
        image_dtype="uint8",
        shuffle_buffer=settings.shuffle_buffer,
        drop_empty=settings.drop_empty_images,
    )
    batches = list(dataset.take(number).as_numpy_iterator())
    train = {
        "image": np.stack([inputs["image"] for inputs, _, _ in batches]),
        "tokens": np.stack([inputs["tokens"] for inputs, _, _ in batches]).astype(np.int16),
        "targets": np.stack([targets for _, targets, _ in batches]).astype(np.int16),
        "weights": np.stack([weights for _, _, weights in batches]),
    }
    truth = read_split_truth(examples, evaluation.split)
    images = evaluation_dataset(
        examples,
        split=evaluation.split,
        image_size=settings.image_size,
        batch_size=evaluation.batch_size,
        resize=evaluation.resize,
    )
    found = list(images.as_numpy_iterator())

    def joined(name: str) -> np.ndarray:
        return np.concatenate([batch[name] for batch in found])

    num_tokens = 5 * evaluation.max_objects
    val = {
        "image": _bytes(joined("image")),
        "uniform": draw_uniform(evaluation.seed, joined("image_key"), num_tokens).numpy(),
        "image_id": np.array([truth.image_numbers[text.decode()] for text in joined("image_id")]),
        "source_size": joined("source_size"),
        "content_size": joined("content_size"),
    }
    return Batches(config, overrides, train, val, truth.coco, truth.category_numbers)


def _bytes(images: np.ndarray) -> np.ndarray:
    """Pixels in [0, 1], or bytes already, as bytes."""
    if images.dtype == np.uint8:
        return images
    return np.rint(images * 255).astype(np.uint8)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--examples", type=Path, required=True, help="examples folder")
    parser.add_argument("--output", type=Path, required=True, help="the file, .npz")
    parser.add_argument("--config", default="configs/demo.py", help="of the training")
    parser.add_argument("--batches", type=int, default=94, help="94: a pass of the demonstration")
    given, rest = parser.parse_known_args(arguments)
    own = [argument.removeprefix("--config.") for argument in rest]
    if any(not argument.startswith("--config.") for argument in rest):
        parser.error(f"unknown arguments among {' '.join(rest)}")
    overrides = [*(_DEMO if given.config == "configs/demo.py" else ()), *own]
    try:
        batches = read_batches(given.config, overrides, given.examples, number=given.batches)
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    size = batches.save(given.output)
    images = batches.train["image"].shape[0] * batches.train["image"].shape[1]
    print(f"{given.output}: {images} images to train on, {len(batches.val['image'])} to evaluate")
    print(f"{size:.1f} MB")
    if size > _LARGEST_MB:
        print(f"That is more than {_LARGEST_MB} MB: give fewer --batches.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

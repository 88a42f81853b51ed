"""What the decoder looks at in a few images, chosen by how well they went."""

from collections.abc import Callable
from typing import Any

import numpy as np

from pix2seq_model.data.ground_truth import SplitTruth, read_images
from pix2seq_model.data.image_check import ImageDefect
from pix2seq_model.decoding.attention_maps import ImageAttention
from pix2seq_model.evaluation.settings import EvaluationSettings
from pix2seq_model.metrics.analysis import analyse
from pix2seq_model.metrics.image_results import image_results
from pix2seq_model.model_folder.folder import ModelInfo

_GIVEN_BOXES = 5  # of an image, whose class the decoder is asked for


def attention_of_chosen_images(
    load_network: Callable[[], tuple[Any, ModelInfo]],
    truth: SplitTruth,
    *,
    detections: list[dict[str, Any]],
    settings: EvaluationSettings,
) -> list[ImageAttention]:
    """The attention of the images in which most was found.

    Args:
      load_network: gives the model and what its folder says; called only if an image is chosen.
      truth: of the split.
      detections: checked COCO results of the split.
      settings: how many images, and of decoding.
    """
    if not settings.num_pictures or not settings.num_attention_pictures:
        return []
    analysis = analyse(truth.coco, detections)
    threshold = analysis.point.threshold
    results = [row for row in image_results(analysis, threshold=threshold) if row.num_objects]
    results.sort(key=lambda row: (-row.num_found, row.num_false))
    chosen = [row.image_id for row in results[: settings.num_attention_pictures]]
    if not chosen:
        return []
    encoded = read_images(truth.examples_dir, truth.split, truth.coco["images"], chosen)

    from pix2seq_model.decoding.attention_reader import AttentionReader
    from pix2seq_model.input_pipeline.image_file import prepare_image

    network, info = load_network()
    reader = AttentionReader(
        network,
        names=info.category_names,
        seed=settings.seed,
        batch_size=settings.batch_size,
        **settings.decoding(),
    )
    images = []
    for image_id in chosen:
        try:
            image = prepare_image(
                encoded[image_id],
                image_size=info.model.image_size,
                resize=settings.resize,
                apply_exif=False,
            )
        except ImageDefect:
            continue  # the report can do without
        boxes = [
            analysis.objects[index]["bbox"]
            for index in np.flatnonzero((analysis.gt_image == image_id) & ~analysis.gt_crowd)
        ]
        given = boxes[:_GIVEN_BOXES]
        images.append(
            reader.read(image, image_id=image_id, score_threshold=threshold, boxes_xywh=given)
        )
    return images

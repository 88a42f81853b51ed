"""A few images of a data set in COCO's format, for trials that should end in minutes."""

from typing import Any

from pix2seq_model.errors import DataError


def choose_images(
    annotations: dict[str, Any], *, num_images: int, max_objects: int, source: str
) -> dict[str, Any]:
    """The first images that hold 1 to `max_objects` objects, crowds not among them.

    Args:
      annotations: content of a COCO annotation file.
      num_images: how many images to choose.
      max_objects: most objects of an image.
      source: name of the file, for messages.

    Returns:
      The same content for the chosen images alone; categories stay as they are.

    Raises:
      DataError: the file has too few such images.
    """
    objects: dict[Any, list[dict[str, Any]]] = {image["id"]: [] for image in annotations["images"]}
    for annotation in annotations["annotations"]:
        objects[annotation["image_id"]].append(annotation)
    chosen = [
        image
        for image in annotations["images"]
        if 1 <= len(objects[image["id"]]) <= max_objects
        and not any(annotation.get("iscrowd", 0) for annotation in objects[image["id"]])
    ][:num_images]
    if len(chosen) < num_images:
        raise DataError(
            f"{source}: {len(chosen)} images hold 1 to {max_objects} objects and no crowd; "
            f"{num_images} are asked for. Raise --max_objects or lower --num_images."
        )
    return {
        **annotations,
        "images": chosen,
        "annotations": [row for image in chosen for row in objects[image["id"]]],
    }

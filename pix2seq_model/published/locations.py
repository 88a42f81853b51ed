"""Where the published Pix2Seq checkpoints are, and how a checkpoint is told from a model folder."""

from pathlib import Path

# Says of a published checkpoint, in its folder, which architecture it is of and how it was trained.
CONFIG_FILE = "config.json"
# What of it concerns the training, in the folder of a model that was imported.
RECIPE_FILE = "published_recipe.json"

# All sixteen: {(name, data set, side of the image in pixels): place}.
PUBLISHED_CHECKPOINTS = {
    **{
        (name, "objects365", 640): f"gs://pix2seq/obj365_pretrain/{name}_640x640_b256_s400k"
        for name in ("resnet", "resnetc", "vit_b", "vit_l")
    },
    **{
        (name, "coco", side): f"gs://pix2seq/coco_det_finetune/{name}_{side}x{side}"
        for name in ("resnet", "resnetc", "vit_b", "vit_l")
        for side in (640, 1024, 1333)
    },
}


def is_checkpoint(place: str) -> bool:
    """Whether a place to start from is a checkpoint in the published layout, and no model folder.

    Places in a bucket are not looked at: the name decides.

    Args:
      place: one of the published places; the prefix of a checkpoint's files (in a bucket its last
        part must contain "ckpt"); or a folder on this machine with a checkpoint in it.
    """
    place = place.rstrip("/")
    if place in PUBLISHED_CHECKPOINTS.values():
        return True
    if "://" in place:
        return "ckpt" in place.rsplit("/", 1)[-1]
    path = Path(place)
    if path.is_dir():
        return not (path / "model.json").exists() and any(path.glob("*.index"))
    return path.with_name(f"{path.name}.index").exists()


def checkpoint_files(place: str) -> list[Path]:
    """The files of a checkpoint on this machine: of all of them where `place` is a folder."""
    path = Path(place)
    folder, pattern = (path, "*") if path.is_dir() else (path.parent, f"{path.name}.*")
    parts = [
        file for file in folder.glob(pattern) if file.suffix == ".index" or ".data-" in file.name
    ]
    configs = [folder / CONFIG_FILE, folder.parent / CONFIG_FILE]
    return sorted(parts) + [file for file in configs if file.exists()]

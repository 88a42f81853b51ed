"""The table of what was chosen, as a person sees it on a narrow terminal."""

import io
from collections import Counter

from rich.console import Console

from pipelines.cli.settled import print_settled
from pix2seq_model.data.dataset_scan import DatasetScan, SplitScan
from pix2seq_model.experiment import load_config
from pix2seq_model.experiment.own_data import Choice
from pix2seq_model.experiment.submission import Submission

COUNTS = {name: Counter() for name in ("objects_per_image", "classes", "sizes", "sides")}


def printed(**fields):
    console = Console(file=io.StringIO(), width=80)
    config = load_config("configs/demo.py")
    print_settled(Submission(config=config, overrides=(), **fields), console)
    return console.file.getvalue()


def test_settings_with_their_reasons():
    split = SplitScan(
        images=1500, objects=9000, crowds=3, set_aside={"box_empty": 2, "box_outside": 5}, **COUNTS
    )
    text = printed(
        notes=("finetune: the recipe of [a]",),
        choices=(Choice("finetune.checkpoint_every_steps", 200, "a/[b]/" + "name" * 20),),
        warnings=("class dog: no box",),
        scan=DatasetScan(({"id": 1, "name": "cat"},), {"train": split}),
    )
    assert "finetune: the recipe of [a]" in text
    assert "train: 1,500 images, 9,000 boxes, 3 crowds; rows set aside: 7" in text
    assert "finetune.checkpoint_every_steps   200" in text
    assert "a/[b]/name" in text
    assert "…" not in text
    assert "warning: class dog: no box" in text


def test_without_a_scan_there_is_nothing_to_say():
    assert printed() == ""

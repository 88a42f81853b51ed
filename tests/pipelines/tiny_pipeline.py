"""The pipeline on a few drawn images, small enough to run whole in a test."""

import contextlib
import dataclasses
import io
import sys
from pathlib import Path
from unittest import mock

from absl.testing import flagsaver

from pipelines import run_pipeline
from pipelines.cli.command_line import run_command
from pix2seq_model.synthetic import dataset as demo_data

DATA = demo_data.DemoSettings(
    objects365_train=24, objects365_val=1, coco_train=24, coco_val=8, image_size=(64, 80)
)


def write_data(folder: Path) -> Path:
    """Objects365 and COCO in miniature; returns the folder."""
    demo_data.generate(folder, DATA)
    return folder


def write_config(path: Path, data: Path) -> Path:
    """A config file for `write_data`'s folder; returns its path."""
    path.write_text(
        "from tests.pipelines.tiny_config import make_config\n\n\n"
        f"def get_config():\n    return make_config({str(data)!r})\n"
    )
    return path


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int
    out: str
    err: str


def run(*arguments: str) -> Ended:
    """Runs run_pipeline.py in this process, where TensorFlow is imported once."""
    out, err = io.StringIO(), io.StringIO()
    with (
        flagsaver.flagsaver(),
        mock.patch.object(sys, "argv", ["run_pipeline.py", *arguments]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            run_command(run_pipeline.main)
        except SystemExit as end:
            return Ended(int(end.code or 0), out.getvalue(), err.getvalue())
    raise AssertionError("run_command ends the process")

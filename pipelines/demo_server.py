"""A web page to try a model: drop an image, see its objects, and where the model looked for them.

    python pipelines/demo_server.py --model=demo/pipeline/serving_model

--model is a model folder, a pushed version or the folder of all versions. The page shows objects
from the score on that the evaluation of a pushed version found best, 0.3 of others. It shows
attention if the model folder can be found; a SavedModel alone has none. Only this machine can reach
the page, unless --host says another address; there is no password.
"""

import sys
from os.path import dirname

sys.path.append(dirname(dirname(__file__)))  # The project need not be installed.
import pipelines.cli.guard  # noqa: F401 - explains imports that fail

import io
import os
import signal

from absl import flags
from PIL import Image

from pipelines.cli.command_line import flag_values, run_command
from pipelines.cli.decoding_flags import decoding_settings
from pix2seq_model.api import find_model
from pix2seq_model.errors import ConfigError
from pix2seq_model.model_folder.thresholds import default_score_of
from pix2seq_model.web_demo.kinds import SHOWN_KINDS, require_shown_kind
from pix2seq_model.web_demo.limits import Limits

FLAGS = flags.FLAGS

flags.DEFINE_string("host", "127.0.0.1", "Address to listen at.")
flags.DEFINE_integer("port", 8000, "Port; 0: a free one.", 0, 65_535)
flags.DEFINE_boolean(
    "trust", False, "Run a SavedModel that is not in this project's layout: its graph is a program."
)
flags.DEFINE_float(
    "max_megabytes", Limits.max_bytes / 1_000_000, "Of an uploaded file.", lower_bound=0.001
)
flags.DEFINE_integer("max_pixels", Limits.max_pixels, "Of an image.", lower_bound=1)
flags.DEFINE_float(
    "upload_seconds", Limits.upload_seconds, "In which a file must arrive.", lower_bound=1
)


def main() -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    kind, place = find_model(FLAGS.model, trust=FLAGS.trust, kinds=SHOWN_KINDS)
    require_shown_kind(kind, place)
    threshold = default_score_of(FLAGS.model)
    # TensorFlow: not before the flags are right.
    from pix2seq_model.web_demo.model import open_demo_model
    from pix2seq_model.web_demo.server import DemoServer

    model = open_demo_model(kind, place, threshold=threshold, **decoding_settings())
    try:
        server = DemoServer(
            model,
            limits=Limits(
                max_bytes=round(FLAGS.max_megabytes * 1_000_000),
                **flag_values("max_pixels", "upload_seconds"),
            ),
            **flag_values("host", "port"),
        )
    except OSError as error:
        raise ConfigError(
            f"--host={FLAGS.host} --port={FLAGS.port} cannot be listened at ({error}): give "
            "another --port, or 0 for a free one"
        ) from None
    with server:
        # The first image compiles the model: better before a person waits for it.
        print(f"{model.name}: getting ready", flush=True)
        blank = io.BytesIO()
        Image.new("RGB", (1, 1)).save(blank, "PNG")
        model.explain(blank.getvalue(), max_pixels=FLAGS.max_pixels)
        print(f"{server.address}  (Ctrl-C ends it)", flush=True)
        if not server.is_local:
            print("other machines may reach this page; there is no password", flush=True)
        # Not by KeyboardInterrupt, which is lost in code that swallows exceptions.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: server.stop())
        server.start().join()
    print("ended")


if __name__ == "__main__":
    run_command(main, takes_more=False)

"""Every setting of a config with its value and where that comes from; or what one of them means.

    python pipelines/show_config.py --config=configs/demo.py --config.finetune.steps=10
    python pipelines/show_config.py --explain=finetune.sequence.order

With --changed only what differs from configs/base.py is shown.
"""

import sys
from os.path import dirname

sys.path.append(dirname(dirname(__file__)))  # The project need not be installed.
import pipelines.cli.guard  # noqa: F401 - explains imports that fail

from absl import flags

from pipelines.cli.command_line import run_command, split_overrides
from pipelines.cli.config_flag import config_given
from pipelines.cli.own_data import load_submission
from pix2seq_model.errors import ConfigError
from pix2seq_model.experiment.explanation import BASE, explain, resolved_values

FLAGS = flags.FLAGS

flags.DEFINE_string("explain", "", "A setting, as finetune.sequence.order.")
flags.DEFINE_bool("changed", False, "Leave out what is as in configs/base.py.")


def main(arguments: list[str]) -> None:
    overrides, others = split_overrides(arguments)
    if others:
        raise ConfigError(f"there is no flag {others[0]}")
    if not FLAGS.config and not FLAGS.explain:
        raise ConfigError("give --config=FILE, --explain=SETTING, or both")
    if FLAGS.explain:
        found = explain(FLAGS.explain)
        print(f"{FLAGS.explain}\n  {found.meaning}\n  allowed: {found.allowed}")
        if found.default is not None:
            print(f"  default: {found.default!r}")
    if FLAGS.config:
        config_file = config_given()
        submission = load_submission(config_file, overrides)
        values = resolved_values(
            submission.config,
            config_file,
            given=overrides,
            all_overrides=submission.overrides,
            scanned=submission.scanned,
            recognised=submission.recognised,
        )
        shown = [v for v in values if v.source != BASE or not FLAGS.changed]
        if FLAGS.explain:
            shown = [v for v in shown if v.key == FLAGS.explain]
        widths = [
            max((len(text) for text in column), default=0)
            for column in ([v.key for v in shown], [repr(v.value) for v in shown])
        ]
        for v in shown:
            print(f"{v.key:<{widths[0]}}  {v.value!r:<{widths[1]}}  {v.source}")
        print("".join(f"{note}\n" for note in submission.notes), end="")
        for choice in submission.choices:
            if FLAGS.explain in ("", choice.key):
                print(f"{choice.key}={choice.value}: {choice.reason}")
        print("".join(f"warning: {warning}\n" for warning in submission.warnings), end="")


if __name__ == "__main__":
    run_command(main)

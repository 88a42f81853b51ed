"""Unpacks tar archives of images in parallel, on any Beam runner.

    python pipelines/unpack_archives.py --archives='/data/objects365/patch*.tar.gz' \\
        --output=/data/objects365/images --direct_num_workers=8

The folder is then the --images of convert_dataset.py. A run that was interrupted continues with the
same command. Zip archives need no unpacking: convert_dataset.py reads them in place.
"""

import sys
from os.path import dirname

sys.path.append(dirname(dirname(__file__)))  # The project need not be installed.
import pipelines.cli.guard  # noqa: F401 - explains imports that fail

from absl import flags

from components.conversion.unpack_archives import (
    UnpackArchives,
    check_unpacked,
    find_archives,
    operations,
)
from pipelines.cli.command_line import local_pipeline, run_command
from pipelines.cli.place_flags import define_place
from pix2seq_model.errors import ConfigError
from pix2seq_model.folder_lock import FolderLock

FLAGS = flags.FLAGS

define_place("archives", None, "Pattern of the archives.", required=True)
define_place("output", None, "Folder to unpack into.", required=True)
flags.DEFINE_float("max_member_megabytes", 200, "An archive with a larger file in it is refused.")


def main(beam_arguments: list[str]) -> None:
    if FLAGS.max_member_megabytes <= 0:
        raise ConfigError(f"--max_member_megabytes={FLAGS.max_member_megabytes} is not a size")
    archives = find_archives(FLAGS.archives)
    print(f"unpacking {len(archives)} archives into {FLAGS.output}")
    max_bytes = round(FLAGS.max_member_megabytes * 1_000_000)
    # The report that is read at the end is one file, and what a killed worker left is removed then.
    lock = FolderLock(FLAGS.output, holder="unpacking", otherwise="name another output folder")
    with lock:
        with local_pipeline(beam_arguments) as pipeline:
            _ = pipeline | UnpackArchives(archives, output=FLAGS.output, max_member_bytes=max_bytes)
        lock.check()
        num_files = check_unpacked(FLAGS.output)
    print(f"{FLAGS.output}: {num_files:,} files")
    if number := operations(FLAGS.output):
        print(f"Cloud Storage bills them as {number:,} operations of class A")


if __name__ == "__main__":
    run_command(main, continues=True)

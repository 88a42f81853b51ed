"""Unpacks tar archives of images in parallel, on any Beam runner.

    python pipelines/unpack_archives.py --archives='/data/objects365/patch*.tar.gz' \\
        --output=/data/objects365/images --direct_num_workers=8

The folder is then the --images of convert_dataset.py. A run that was interrupted continues with the
same command. Zip archives need no unpacking: convert_dataset.py reads them in place.
"""

import apache_beam as beam
from absl import flags
from apache_beam.options.pipeline_options import PipelineOptions

from components.conversion.unpack_archives import UnpackArchives, check_unpacked, find_archives
from pipelines.cli.command_line import local_beam_args, run_command
from pix2seq_model.errors import ConfigError

_ARCHIVES = flags.DEFINE_string("archives", None, "Pattern of the archives.", required=True)
_OUTPUT = flags.DEFINE_string("output", None, "Folder to unpack into.", required=True)
_MAX_MEMBER_MEGABYTES = flags.DEFINE_float(
    "max_member_megabytes", 200, "An archive with a larger file in it is refused."
)


def main(beam_arguments: list[str]) -> None:
    if _MAX_MEMBER_MEGABYTES.value <= 0:
        raise ConfigError(f"--max_member_megabytes={_MAX_MEMBER_MEGABYTES.value} is not a size")
    archives = find_archives(_ARCHIVES.value)
    print(f"unpacking {len(archives)} archives into {_OUTPUT.value}")
    arguments = local_beam_args(beam_arguments)
    with beam.Pipeline(options=PipelineOptions(list(arguments))) as pipeline:
        _ = pipeline | UnpackArchives(
            archives,
            output=_OUTPUT.value,
            max_member_bytes=round(_MAX_MEMBER_MEGABYTES.value * 1_000_000),
        )
    print(f"{_OUTPUT.value}: {check_unpacked(_OUTPUT.value):,} files")


if __name__ == "__main__":
    run_command(main)

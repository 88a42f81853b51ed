"""Converts a data set to an examples folder: TFX's ExampleGen for Objects365 and COCO."""

import contextlib
import json
import os
from collections.abc import Mapping
from typing import Any

from apache_beam.io.filesystems import FileSystems
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, component_spec, standard_artifacts

from components.beam_executor import BeamArguments
from components.conversion.convert import convert_dataset
from components.conversion.finish import is_finished
from components.conversion.options import conversion_options
from components.data_places import with_places
from components.remembered_failure import note_of, remembered
from components.specs import Artifacts, MadeBySpec, channels, parameters
from components.storage.watch import ShardBar
from pix2seq_model.data import manifest as dataset_info

# A request to a bucket takes no more.
_FILES_MOVED_AT_ONCE = 100


class ExampleGenSpec(component_spec.ComponentSpec):
    """Output and settings of `ExampleGen`."""

    PARAMETERS = parameters(
        source=str,
        section=str,
        given=str,
        name=str,
        seed=int,
        work_dir=str,
        fingerprint=str,
        data_version=str,
        code_version=str,
    )
    INPUTS = channels()
    OUTPUTS = channels(examples=standard_artifacts.Examples)


class Executor(BeamArguments):
    """Runs the conversion, in a folder of its own.

    TFX gives every attempt a new folder and removes that of a failed one. A conversion continues
    where it was killed, and its dead-letter files explain why it failed, so it works elsewhere.
    On this machine its folder then becomes the artifact's, as TFX demands. On Vertex AI the
    artifact points to it, so that a run with another image or other workers finds it finished.
    """

    def Do(  # noqa: N802
        self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]
    ) -> None:
        examples = artifact_utils.get_single_instance(output_dict["examples"])
        version = exec_properties["data_version"]
        work_dir = "-".join(filter(None, [exec_properties["work_dir"].rstrip("/"), version]))
        with remembered(note_of(self._context, examples.uri)):
            options = conversion_options(
                with_places(
                    json.loads(exec_properties["source"]),
                    exec_properties["section"],
                    exec_properties["given"],
                ),
                name=exec_properties["name"],
                seed=exec_properties["seed"],
            )
            if version and is_finished(options, work_dir):
                info = dataset_info.read_dataset_info(work_dir)
                print(f"{work_dir} holds these records already: nothing is converted.", flush=True)
            else:
                with ShardBar(work_dir):
                    info = convert_dataset(
                        options, work_dir, make_pipeline=self._make_beam_pipeline
                    )
        if version:
            examples.uri = work_dir
        else:
            _move_folder(work_dir, examples.uri.rstrip("/"))
        examples.split_names = artifact_utils.encode_split_names(sorted(options.splits))
        examples_utils.set_payload_format(examples, example_gen_pb2.PayloadFormat.FORMAT_TF_EXAMPLE)
        for name, number in _counts(info).items():
            examples.set_int_custom_property(name, number)


def _counts(info: dataset_info.DatasetInfo) -> dict[str, int]:
    """What Vertex AI shows of the examples: by split images, objects, bytes, defects by rule."""
    counts = {}
    for name, split in info.splits.items():
        counts[f"{name}_images"] = split.num_examples
        counts[f"{name}_objects"] = split.num_objects
        counts[f"{name}_bytes"] = split.num_bytes
        for *rule, number in split.applied_rules():
            counts["_".join([name, *rule])] = number
    return counts


def give_back(output_dict: Artifacts, exec_properties: Mapping[str, Any]) -> None:
    """Moves records that became no output back to where their conversion continues.

    After an interruption, or where TFX could not note them: to convert them again may take hours.

    Args:
      output_dict: of any component; of others nothing is moved.
      exec_properties: of the same.
    """
    work_dir = exec_properties.get("work_dir", "")
    for artifact in output_dict.get("examples", ()):
        if work_dir and os.path.exists(f"{artifact.uri}/{dataset_info.FILE_NAME}"):
            with contextlib.suppress(OSError):  # Another conversion has begun there, for one.
                os.rename(artifact.uri, work_dir)


def _move_folder(source: str, target: str) -> None:
    if "://" not in target:
        if os.path.isdir(target):  # TFX makes it beforehand.
            os.rmdir(target)
        os.rename(source, target)
        return
    files = [file.path for file in FileSystems.match([f"{source}/**"])[0].metadata_list]
    # The manifest goes last: with it the folder is complete.
    manifest = f"{source}/{dataset_info.FILE_NAME}"
    others = [path for path in files if path != manifest]
    for start in range(0, len(others), _FILES_MOVED_AT_ONCE):
        some = others[start : start + _FILES_MOVED_AT_ONCE]
        FileSystems.rename(some, [f"{target}{path.removeprefix(source)}" for path in some])
    FileSystems.rename([manifest], [f"{target}/{dataset_info.FILE_NAME}"])


class ExampleGen(MadeBySpec, base_beam_component.BaseBeamComponent):
    """Converts the data set that a `data` section of the config describes.

    Args:
      source: the section: format, images and annotations by split, limits.
      section: its name, such as "data.finetune".
      given: places that count instead, see `with_places`.
      name: of the data set, for people.
      seed: orders the images and the objects in them.
      work_dir: where the conversion works; the same folder continues it.
      fingerprint: of the data, which makes the stage run again when it changes.
      data_version: what `DataVersion` says of the data when the pipeline runs: the records are
        made and stay in `work_dir` with that behind it. Empty: they are moved to the artifact.
      code_version: of the code, which makes the stage run again when it changes.
    """

    SPEC_CLASS = ExampleGenSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)

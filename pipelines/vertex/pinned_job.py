"""A job file whose images are named by their digests, so that all its steps run the same one.

A tag may be given to another image while a run goes on, or between the runs of a schedule. The
cache would take steps of the one for those of the other, as the file names both alike.
"""

import json
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import requests
from google.auth.exceptions import GoogleAuthError

from pipelines.vertex.findings import Endpoints
from pipelines.vertex.image import pinned
from pipelines.vertex.preflight import authorized_session

_DATAFLOW = "--sdk_container_image="


def pinned_job(
    job_file: Path,
    *,
    project: str,
    say: Callable[[str], None],
    in_place: bool,
    session: requests.Session | None = None,
    endpoints: Endpoints | None = None,
) -> Path:
    """Writes a job file with the images' digests in the place of their tags.

    Args:
      job_file: compiled.
      project: on whose account the registry is asked.
      say: is told the digests, and what could not be found out.
      in_place: write it to the same file; else to a temporary one.
      session: carries credentials; the user's own if None.
      endpoints: where to ask.

    Returns:
      The file.
    """
    text = job_file.read_text()
    found = {}
    for image in sorted({*_images(json.loads(text))}):
        try:
            session = session or authorized_session(project)
            found[image] = pinned(image, session, endpoints or Endpoints())
        except (LookupError, requests.RequestException, GoogleAuthError) as error:
            say(
                f"warning: which image {image} is now could not be asked ({error}). The job names "
                "it by its tag: a step that starts after the tag was given to another image runs "
                "that one."
            )
    for image, name in found.items():
        if name != image:
            say(f"Image {image} is {name.partition('@')[2]}")
            # Between quotation marks, or behind the option's name; inside JSON in JSON too.
            text = re.sub(rf'(?<=["=]){re.escape(image)}(?=\\*")', name, text)
    if not in_place:
        folder = Path(tempfile.mkdtemp(prefix="job-"))
        job_file = folder / job_file.name
    job_file.write_text(text)
    return job_file


def _images(job: dict[str, Any]) -> Iterator[str]:
    """The images of the steps, of Dataflow's workers and of the custom jobs."""
    spec = job["pipelineSpec"]
    for executor in spec["deploymentSpec"]["executors"].values():
        if container := executor.get("container"):
            yield container["image"]
            for argument in container.get("args", ()):
                if argument.startswith(_DATAFLOW):
                    yield argument.removeprefix(_DATAFLOW)
    for task in spec["root"]["dag"]["tasks"].values():
        parameters = task.get("inputs", {}).get("parameters", {})
        value = parameters.get("custom_config", {}).get("runtimeValue", {}).get("constantValue", {})
        yield from re.findall(r'"image_uri": "([^"]+)"', value.get("stringValue", ""))

"""What must be true of every job that the conversion submits to Dataflow."""

import base64
import bz2
import re
from typing import Any

from apache_beam.portability import common_urns
from apache_beam.portability.api import beam_runner_api_pb2 as api
from apache_beam.utils import proto_utils

_GRAPH_LIMIT = 10 * 2**20
# Beam writes pickled code as bzip2 behind base64.
_PICKLES = re.compile(rb"QlpoO[A-Za-z0-9+/]+={0,2}")


def pickles(pipeline: bytes) -> list[bytes]:
    """The pickled functions in a pipeline proto, as pickle wrote them."""
    return [bz2.decompress(base64.b64decode(found)) for found in _PICKLES.findall(pipeline)]


def problems(job: dict[str, Any], pipeline: bytes, *, image: str) -> list[str]:
    """What is wrong with a submitted job; empty if nothing is.

    Args:
      job: as JSON.
      pipeline: the proto that it names.
      image: that the workers must run.
    """
    graph = api.Pipeline.FromString(pipeline)
    found = []
    environments = graph.components.environments.values()
    for environment in environments:
        if environment.urn != common_urns.environments.DOCKER.urn:
            found.append(f"an environment that is no container: {environment.urn}")
            continue
        docker = proto_utils.parse_Bytes(environment.payload, api.DockerPayload)
        if docker.container_image != image:
            found.append(f"the image is {docker.container_image}")
        # With everything in the image, nothing is fetched or installed when a worker starts.
        found += [f"a file is staged for the workers: {d}" for d in environment.dependencies]
    for pool in job["environment"]["workerPools"]:
        images = [row["containerImage"] for row in pool["sdkHarnessContainerImages"]]
        if images != [image] * len(images) or pool["workerHarnessContainerImage"] != image:
            found.append(f"a worker pool runs {images}")
        found += [f"a package is installed: {package}" for package in pool.get("packages", [])]
    if len(pipeline) >= _GRAPH_LIMIT:
        found.append(f"the graph has {len(pipeline)} bytes")
    options = job["environment"]["sdkPipelineOptions"]["options"]
    if options.get("save_main_session"):
        found.append("the main module is pickled")
    if b"pickled_main_session" in pipeline:
        found.append("the main module is staged")
    code = pickles(pipeline)
    if not code:
        found.append("no pickled function was found: this check does not know the format")
    found += ["code of __main__ is pickled" for pickle in code if b"__main__" in pickle]
    return found

"""What a stage's result is known by: its data, its code, and what a submission may set."""

from collections.abc import Sequence

from tfx.orchestration.data_types import RuntimeParameter

from components.digest import digest_of
from pipelines import cache_keys
from pipelines.keras_backend import keras_backend
from pipelines.request import Request

# Settings of a `data` section that decide, together with its files, what the records hold.
_RECORD_SETTINGS = ("num_shards", "drop_fake", "drop_reflected", "check_pixels", "max_pixels")


def parameter(request: Request, name: str, default: str = "") -> str | RuntimeParameter:
    """A value that on Vertex AI each submission of the same job file may set."""
    if request.cloud is None:
        return default
    return RuntimeParameter(name=name, ptype=str, default=default)


def data_digest(request: Request, stage: str) -> str:
    """What decides the records; on Vertex AI the data themselves are found out in a step."""
    config, section = request.config, f"data.{stage}"
    names = [f"{section}.{name}" for name in _RECORD_SETTINGS]
    settings = cache_keys.settings_digest(config, names)
    if request.cloud is not None:
        return settings
    source = cache_keys.source_digest(config.data[stage], section)
    return digest_of(source, settings, request.data_version)


def code_version_of(
    request: Request, module: str, *packages: str, without: Sequence[str] = cache_keys.ONLY_SHOW
) -> str:
    """The version of a stage's code and packages, and of Keras' backend where Keras is one."""
    code = request.code_version or cache_keys.code_digest(module, without=without)
    backend = f" on {keras_backend()}" if "keras" in packages else ""
    return f"{code}{backend}, {cache_keys.package_versions(*packages)}"


def report_version(request: Request, module: str) -> str:
    """The version of a report's code, which all that shows belongs to, and packages."""
    return code_version_of(request, module, "hotcoco", "jinja2", "pillow", without=())

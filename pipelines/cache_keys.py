"""What decides whether a stage of the pipeline runs again: digests of data, settings and code.

A stage is taken from the cache if its inputs, settings, data, code and packages are those of an
earlier run. Code counts by what it does: comments, docstrings and layout may change without
training again, and so may a module that only shows what was done.
"""

import ast
import functools
import hashlib
import importlib.metadata
import json
import operator
from collections.abc import Iterator, Sequence
from pathlib import Path

from ml_collections import ConfigDict

from components.digest import digest_of
from pipelines.keras_backend import keras_backend
from pix2seq_model.data.settings import ALL_SPLITS, LABEL_FORMATS
from pix2seq_model.errors import DataError
from pix2seq_model.published.locations import checkpoint_files, is_checkpoint
from pix2seq_model.training.settings import outside_the_run

# Where the demonstration's configs look for their data, from the folder of the command.
_DEMO_DATA = ("demo", "data")
_PROJECT_ROOT = Path(__file__).resolve().parents[1]
_PACKAGES = ("components", "pix2seq_model")
# Up to this size a file counts by its content, so that a fresh copy of a small data set is known
# again; above it by size and time of change.
_READ_WHOLE_BYTES = 64 << 20
_READ_FOLDER_BYTES = 256 << 20

# Modules, or folders of modules, that only show, or only keep others out: no record, weight or
# number comes from them.
ONLY_SHOW = (
    *("pix2seq_model.errors", "pix2seq_model.progress", "pix2seq_model.reports"),
    "pix2seq_model.terminal",
    *(f"pix2seq_model.training.{name}" for name in ("pictures", "tensorboard", "stall_watch")),
    *(f"pix2seq_model.training.{name}" for name in ("loggers", "scalar_names", "tracker")),
    *(f"pix2seq_model.training.{name}_tracker" for name in ("mlflow", "wandb")),
    *("pix2seq_model.training.start_report", "pix2seq_model.network.attention_kind"),
    "pix2seq_model.training.earlier_runs",
    *("pix2seq_model.folder_lock", "pix2seq_model.bucket_file", "pix2seq_model.store_access"),
    "components.storage.watch",
)
# What does not decide the weights of a training: how their quality is measured, how the training is
# logged and saved, how they are exported, and how a config is read (its values count by
# themselves).
_MEASURING = (
    *("pix2seq_model.decoding", "pix2seq_model.metrics", "pix2seq_model.evaluation"),
    *("pix2seq_model.training.evaluation", "pix2seq_model.network.step_products"),
    *("pix2seq_model.training.validation_loss", "pix2seq_model.training.early_stopping"),
    "pix2seq_model.input_pipeline.validation_batches",
)
_NOT_IN_WEIGHTS = (
    *("pix2seq_model.experiment", "pix2seq_model.setting_checks", "pix2seq_model.atomic_write"),
    *("pix2seq_model.places", "pix2seq_model.json_file", "pix2seq_model.training.notes"),
    "pix2seq_model.model_folder.saved_model",
    *(f"pix2seq_model.training.{name}" for name in ("run_record", "interruption")),
    *(f"pix2seq_model.training.{name}" for name in ("interval_log", "log_means")),
    "pix2seq_model.training.periodic_checkpoints",
)
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_PACKAGES_OF_BACKEND = {"jax": ("jax", "jaxlib"), "torch": ("torch",)}


def settings_digest(config: ConfigDict, sections: Sequence[str], *, in_run: bool = False) -> str:
    """Digest of some sections of a config, named like "seed" or "data.pretrain".

    Args:
      config: the experiment's.
      sections: what to take of it.
      in_run: only what a training run must continue with: leaves out how it is logged and saved,
        and when it ends early.
    """
    chosen = {}
    for name in sections:
        value = functools.reduce(operator.getitem, name.split("."), config)
        if isinstance(value, ConfigDict):
            value = value.to_dict()
            if "steps" in value:  # Which hold what was given as epochs.
                value.pop("epochs", None)
            if in_run:
                left_out = outside_the_run(keep_best=value.get("keep_best", False))
                value = {k: v for k, v in value.items() if k not in left_out}
        chosen[name] = value
    return digest_of(json.dumps(chosen, sort_keys=True))


def source_digest(source: ConfigDict, name: str, *, look: bool = True) -> str:
    """Digest of a data set on disk: its annotation files and the files of its image folders.

    Addresses in a bucket count by their name only, because nothing goes to the network here: on
    Vertex AI `DataVersion` looks at them when the pipeline runs; in a run on this machine give
    another `--data_version` when their content changes.

    Args:
      source: a `data` section of the config: `images` and `annotations` by split.
      name: of the section, for messages.
      look: False takes all places by name, for a run elsewhere.

    Raises:
      DataError: a file or folder is missing; the message names the setting.
    """
    given = source.annotations.items()
    places = sorted((s, source.images[s], a) for s, a in given if a and s != ALL_SPLITS)
    if not look:
        return digest_of(json.dumps(places))
    return _places_digest(tuple(places), name, in_folders=source.get("format") in LABEL_FORMATS)


def file_digest(place: str, name: str) -> str:
    """Digest of an annotation file; an address in a bucket counts by its name only.

    Args:
      place: the file.
      name: of the setting, for messages.

    Raises:
      DataError: it is missing; the message names the setting.
    """
    return digest_of(json.dumps(_file_token(place, name)))


def model_digest(place: str, name: str, *, look: bool = True) -> str:
    """Digest of a model to start from: a model folder, or a checkpoint in the published layout.

    A model folder counts by its description, which contains the digest of its weights.

    Args:
      place: the folder, or the prefix of a checkpoint's files.
      name: of the setting, for messages.
      look: False takes it by name, for a run elsewhere; so do addresses in a bucket.

    Raises:
      DataError: the place is neither; the message names the setting.
    """
    if not look or "://" in place:
        return digest_of(place)
    if is_checkpoint(place):
        tokens = [_file_token(str(file), name) for file in checkpoint_files(place)]
        return digest_of(json.dumps(tokens))
    path = Path(place) / "model.json"
    if not path.exists():
        raise DataError(
            f"{name}={place} is no model: it has neither a model.json nor a checkpoint. Give the "
            "folder that training or import_checkpoint.py wrote, or a published checkpoint."
        )
    return digest_of(path.read_text())


def code_digest(module: str, *, without: Sequence[str] = ONLY_SHOW) -> str:
    """Digest of a module of this project and of all modules of this project that it imports.

    The other files of their folders, such as templates, count too.

    Args:
      module: dotted name, such as "components.trainer_module".
      without: modules, or folders of modules, that do not count; nor does what only they import.
    """
    parts: dict[str, str] = {}
    seen, waiting = set(), [module]
    while waiting:
        name = waiting.pop()
        if name in seen or any(f"{name}.".startswith(f"{prefix}.") for prefix in without):
            continue
        seen.add(name)
        path = _module_path(name)
        if path is None:
            continue
        parts[name], imported = _parsed(path.read_text())
        waiting += imported
        if path.name == "__init__.py":
            for file in _files_of_package(path.parent):
                parts[file.relative_to(_PROJECT_ROOT).as_posix()] = _content(file)
    return digest_of("".join(f"{name}\n{parts[name]}\n" for name in sorted(parts)))


def weights_digest(module: str, *, best_by_evaluation: bool) -> str:
    """Digest of the code that decides the weights of a training; see `code_digest`.

    Args:
      module: that trains.
      best_by_evaluation: whether a measurement chooses among the weights of a training.
    """
    measuring = () if best_by_evaluation else _MEASURING
    return code_digest(module, without=(*ONLY_SHOW, *_NOT_IN_WEIGHTS, *measuring))


def package_versions(*names: str) -> str:
    """Packages with their versions, like "keras 3.15.1, numpy 2.4.6".

    Args:
      *names: of packages; "keras" brings those of its backend along.
    """
    if "keras" in names:
        # TensorFlow reads the images on any backend.
        names = (*names, "numpy", "tensorflow", *_PACKAGES_OF_BACKEND.get(keras_backend(), ()))
    return ", ".join(f"{name} {_version(name)}" for name in sorted(set(names)))


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


@functools.cache  # Asked for before and while the pipeline is assembled.
def _places_digest(places: tuple[tuple[str, str, str], ...], name: str, *, in_folders: bool) -> str:
    parts = []
    for split, images, annotations in places:
        token = _folder_token if in_folders else _file_token
        parts.append([split, token(annotations, f"{name}.annotations.{split}")])
        parts.append([split, _folder_token(images, f"{name}.images.{split}")])
    return digest_of(json.dumps(parts))


def _where_made(path: Path) -> str:
    if path.parts[:2] == _DEMO_DATA:
        return (
            f" in {Path.cwd()}. The demonstration's images are drawn by "
            "`python pipelines/generate_demo_data.py` (`pix2seq demo-data`), with "
            f"--output={'/'.join(_DEMO_DATA)}; or give your own data."
        )
    return f"{'' if path.is_absolute() else f' in {Path.cwd()}'}. Give the place of the data."


def _file_token(address: str, name: str) -> list:
    if "://" in address:
        return [address]
    path = Path(address)
    if not path.is_file():
        raise DataError(f"{name}={address}: there is no such file{_where_made(path)}")
    if path.stat().st_size <= _READ_WHOLE_BYTES:
        return [path.name, _content(path)]
    return [path.name, *_size_and_time(path)]


def _folder_token(address: str, name: str) -> list:
    if "://" in address:
        return [address]
    path = Path(address)
    if path.is_file():  # An archive.
        return [path.name, *_size_and_time(path)]
    if not path.is_dir():
        raise DataError(f"{name}={address}: there is no such folder{_where_made(path)}")
    from components.storage.files import list_files  # Imports Beam: takes a second.

    # Follows links to folders, as they are followed where the data set is read.
    files = sorted(path / name for name in list_files(address) if (path / name).is_file())
    stats = [_size_and_time(file) for file in files]
    by_content = sum(size for size, _ in stats) <= _READ_FOLDER_BYTES
    return [
        [file.relative_to(path).as_posix(), size, _content(file) if by_content else time]
        for file, (size, time) in zip(files, stats)
    ]


def _size_and_time(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


def _content(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _module_path(name: str) -> Path | None:
    if name.split(".")[0] not in _PACKAGES:
        return None
    base = _PROJECT_ROOT.joinpath(*name.split("."))
    files = (base.with_suffix(".py"), base / "__init__.py")
    return next((path for path in files if path.is_file()), None)


def _files_of_package(folder: Path) -> Iterator[Path]:
    """What a package holds besides modules, in folders that are no packages themselves too."""
    for path in sorted(folder.iterdir()):
        # Nothing that runs reads what is for type checkers.
        if path.name.startswith((".", "__pycache__")) or path.suffix in (".py", ".pyi", ".typed"):
            continue
        if path.is_file():
            yield path
        elif not (path / "__init__.py").exists():
            yield from _files_of_package(path)


@functools.cache  # The stages share most of their modules.
def _parsed(source: str) -> tuple[str, tuple[str, ...]]:
    """What a module does, as text, and the modules that it imports, with those around them."""
    tree = ast.parse(source)
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, _DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            del node.body[0]  # Comments and layout are not in a syntax tree at all.
    parents = [name.split(".") for name in names]
    imported = {".".join(parts[: end + 1]) for parts in parents for end in range(len(parts))}
    return ast.dump(tree), tuple(imported)

"""The console command `pix2seq`: each command of this folder by a short name.

    pix2seq predict --model=serving_model --images=photos --output=found

is `python pipelines/predict.py` with the same flags. `pix2seq` alone lists the commands,
`pix2seq COMMAND --help` explains one.
"""

import sys
from os.path import dirname

sys.path.append(dirname(dirname(__file__)))  # The project need not be installed.
import ast
import difflib
import importlib.util
import runpy
from pathlib import Path

from pipelines.cli import guard

# What a person types, and the module that does it.
COMMANDS = {
    "run": "run_pipeline",
    "check": "check_dataset",
    "split": "split_dataset",
    "subset": "subset_dataset",
    "convert": "convert_dataset",
    "unpack": "unpack_archives",
    "predict": "predict",
    "predict-batch": "predict_batch",
    "evaluate": "evaluate",
    "evaluate-detections": "evaluate_detections",
    "serve": "demo_server",
    "export-onnx": "export_onnx",
    "import-checkpoint": "import_checkpoint",
    "show-config": "show_config",
    "estimate": "estimate",
    "ablation": "run_ablation",
    "demo-data": "generate_demo_data",
}
# Packages that not every installation has, and the extra that brings them.
EXTRAS = {
    **dict.fromkeys(("apache_beam", "tfx", "kfp", "ml_metadata", "google"), "pipeline"),
    **dict.fromkeys(("hotcoco", "pycocotools", "ml_collections", "tensorboard"), "pipeline"),
    **dict.fromkeys(("tensorflow", "keras", "h5py", "rich", "matplotlib"), "predict"),
    **dict.fromkeys(("starlette", "uvicorn"), "serve"),
    **dict.fromkeys(("onnx", "onnxruntime", "tf2onnx"), "onnx"),
    **dict.fromkeys(("jax", "jaxlib"), "jax"),
    "av": "video",
    **{name: name for name in ("mlflow", "wandb")},
}


def main() -> None:
    """Runs the command named first on the command line, as if its file had been called."""
    guard.install()  # For the script of an installation, which is no file of this folder.
    words = sys.argv[1:]
    if not words or words[0] in ("--help", "-h", "help"):
        print(usage())
        sys.exit(0)
    name = words[0]
    module = COMMANDS.get(name, name if name in COMMANDS.values() else None)
    if module is None:
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        did_you_mean = f"; did you mean {close[0]}?" if close else ""
        print(f"error: there is no command {name!r}{did_you_mean}\n\n{usage()}", file=sys.stderr)
        sys.exit(2)
    sys.argv = [f"pix2seq {name}", *words[1:]]
    # As `__main__`: absl's flags and the commands' help belong to that module.
    runpy.run_module(f"pipelines.{module}", run_name="__main__", alter_sys=True)


def usage() -> str:
    """The commands with the first sentence of what each says of itself; imports none of them."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {_about(module)}" for name, module in COMMANDS.items()]
    return "\n".join(
        ["pix2seq COMMAND --flag=value ...", "", *lines, "", "pix2seq COMMAND --help explains one."]
    )


def _about(module: str) -> str:
    spec = importlib.util.find_spec(f"pipelines.{module}")
    if spec is None or spec.origin is None:
        return ""
    text = ast.get_docstring(ast.parse(Path(spec.origin).read_text())) or ""
    return text.split("\n\n")[0].replace("\n", " ")


if __name__ == "__main__":
    main()

"""SavedModels are programs: whose graph this process runs is for a person to say.

A SavedModel's graph may read and write any file that the process may. A model folder holds numbers
alone, and the network around them is built by this project's own code: where a model is available
as both, the model folder is the safe one.
"""

import os

from etils import epath

from pix2seq_model.argument_names import argument
from pix2seq_model.errors import ModelError
from pix2seq_model.model_folder.pushed import EXPORT_FILE, GRAPH_FILE


def require_trust(folder: str | os.PathLike, *, trust: bool) -> None:
    """Stands before every loading of a SavedModel.

    The layout that this project writes asks for no word of trust, since whoever exports and pushes
    a model serves it too. It is no proof of origin: files can be copied.

    Args:
      folder: of the SavedModel.
      trust: a person said that it may be run, wherever it comes from.

    Raises:
      ModelError: it is not in this project's layout, and nobody said so.
    """
    if trust or (epath.Path(folder) / EXPORT_FILE).exists():
        return
    raise ModelError(
        f"{folder} holds a SavedModel that is not in this project's layout (it has no "
        f"{EXPORT_FILE}). Its {GRAPH_FILE} is a program, which may read and write the files that "
        f"you may: give {argument('trust', True)} if you know who made it, or use the model folder."
    )

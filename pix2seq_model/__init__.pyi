from pix2seq_model.api import Model as Model
from pix2seq_model.api import Result as Result
from pix2seq_model.api import Results as Results
from pix2seq_model.api import load as load

__all__ = ["Model", "Result", "Results", "load"]

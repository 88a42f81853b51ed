"""One undisturbed tiny run, for all tests that look at what a run leaves behind."""

import pytest

from tests.fixtures import tiny_run


@pytest.fixture(scope="session")
def examples(tmp_path_factory):
    return tiny_run.write_examples(tmp_path_factory.mktemp("tiny_run") / "examples")


@pytest.fixture(scope="session")
def plain_run(tmp_path_factory, examples):
    """The folder of the run, and what `train` returned."""
    root = tmp_path_factory.mktemp("plain_run")
    return root, tiny_run.train(root, examples)


@pytest.fixture
def no_export(monkeypatch):
    monkeypatch.setattr(
        "pix2seq_model.training.finished_model.export_model_folder", lambda *_, **__: None
    )

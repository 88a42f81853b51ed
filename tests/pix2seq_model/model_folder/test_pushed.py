"""From what a person gives as a model to the model folder."""

import json

import pytest

from pix2seq_model.errors import ModelError
from pix2seq_model.model_folder.pushed import find_model_folder, find_pushed_version


def model_folder(path):
    path.mkdir()
    (path / "model.json").write_text("{}")
    return path


def push(destination, version, model):
    folder = destination / str(version)
    folder.mkdir(parents=True)
    (folder / "pushed.json").write_text(json.dumps({"model_folder": str(model)}))
    return folder


def test_a_model_folder_is_itself(tmp_path):
    model = model_folder(tmp_path / "model")
    assert find_model_folder(model) == str(model)
    assert find_pushed_version(model) is None


def test_a_version_leads_to_its_model_and_the_folder_of_versions_to_the_newest(tmp_path):
    models = [model_folder(tmp_path / name) for name in ("old", "new")]
    served = tmp_path / "served"
    old, new = push(served, 9, models[0]), push(served, 10, models[1])
    (served / ".11-7.partial").mkdir()
    assert find_model_folder(old) == str(models[0])
    assert find_model_folder(new) == str(models[1])
    assert find_model_folder(served) == str(models[1])
    assert find_pushed_version(served) == find_pushed_version(new) == str(new)


def test_what_is_no_model_is_refused(tmp_path):
    for place in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ModelError, match=r"is not a model folder: it has no model\.json"):
            find_model_folder(place)
    version = push(tmp_path / "served", 1, tmp_path / "gone")
    with pytest.raises(ModelError, match=r"was pushed from .*gone, which is no model folder any"):
        find_model_folder(version)


def test_a_version_with_a_model_folder_in_it_needs_no_other(tmp_path):
    version = push(tmp_path / "served", 1, tmp_path / "gone")
    (version / "model.json").write_text("{}")
    assert find_model_folder(version) == find_model_folder(tmp_path / "served") == str(version)
    assert find_pushed_version(version) == str(version)


@pytest.mark.parametrize("content", ["{", "[]", "{}"])
def test_a_damaged_record_is_named(tmp_path, content):
    version = push(tmp_path / "served", 1, tmp_path / "model")
    (version / "pushed.json").write_text(content)
    with pytest.raises(ModelError, match=r"pushed\.json is damaged .*push the model again"):
        find_model_folder(version)

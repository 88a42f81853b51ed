"""Which failures of a run are noted, and where; what is noted is not tried again."""

import pytest
from tfx.dsl.components.base.base_executor import BaseExecutor

from components.remembered_failure import note_of, noted_failure, remembered
from pix2seq_model.errors import DataError, UnavailableError, UserError, WorkerLostError


def of(unique_id):
    return BaseExecutor.Context(tmp_dir="/anywhere/.temp", unique_id=unique_id)


def test_the_note_is_in_the_folder_of_the_run():
    context = of("Finetune_77")
    uri = "gs://b/root/123/run-1/Finetune_77/model"
    assert note_of(context, uri) == "gs://b/root/123/run-1/Finetune-failed.json"
    assert note_of(of("Finetune_78"), uri.replace("_77", "_78")) == note_of(context, uri)


@pytest.mark.parametrize(
    ("unique_id", "uri"), [("5", "/root/Finetune/model/5"), (None, "/root/Finetune/model/5")]
)
def test_on_this_machine_nothing_is_noted(unique_id, uri):
    assert note_of(of(unique_id), uri) == ""
    assert note_of(None, uri) == ""
    with pytest.raises(DataError), remembered(""):
        raise DataError("wrong")


def test_what_cannot_work_is_not_tried_again(tmp_path):
    note, done = str(tmp_path / "run-1" / "Finetune-failed.json"), []

    def attempt(error=None):
        with remembered(note):
            done.append(1)
            if error:
                raise error

    for passing in (UnavailableError("later"), WorkerLostError("gone"), OSError("network")):
        with pytest.raises(type(passing)):
            attempt(passing)
    assert not noted_failure(note)
    with pytest.raises(DataError):
        attempt(DataError("no images"))
    assert noted_failure(note) == "no images"
    with pytest.raises(UserError, match=r"no images\n.*run-1/Finetune-failed.json.*submit the run"):
        attempt()
    assert len(done) == 4

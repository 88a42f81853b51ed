"""The stage that writes the data report, with TFX's artifacts."""

from tfx.types import artifact_utils, standard_artifacts

from components.data_report import DataReport
from pix2seq_model.data.manifest import read_dataset_info
from tests.fixtures.small_conversion import convert
from tests.fixtures.small_dataset import SmallDataset


def test_the_page_is_alone_in_its_folder(tmp_path):
    convert(tmp_path, {"train": SmallDataset(3).write(tmp_path / "data")})
    examples, report = standard_artifacts.Examples(), standard_artifacts.ExampleStatistics()
    examples.uri, report.uri = str(tmp_path / "out"), str(tmp_path / "report")
    examples.split_names = artifact_utils.encode_split_names(["train"])
    before = {path.name for path in (tmp_path / "out").iterdir()}
    DataReport.test_call(examples=examples, report=report, code_version="1")
    assert [path.name for path in (tmp_path / "report").iterdir()] == ["data_report.html"]
    page = (tmp_path / "report" / "data_report.html").read_text()
    assert read_dataset_info(tmp_path / "out").fingerprint() in page
    assert artifact_utils.decode_split_names(report.split_names) == ["train"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == before

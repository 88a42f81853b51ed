"""What a data set is called where nobody gave it a name."""

import pytest
from absl.testing import flagsaver

from pipelines.cli import dataset_flags


@pytest.mark.parametrize(
    ("dataset", "images", "name"),
    [
        ("auto", ["/data/blood_cells/"], "blood_cells"),
        ("auto", ["blood_cells"], "blood_cells"),
        ("auto", ["train=/data/cells/a", "val=/data/cells/b"], "cells"),
        ("auto", ["gs://bucket/cells"], "cells"),
        ("coco", ["/data/blood_cells"], "coco"),
    ],
)
def test_recognised_data_are_called_like_their_folder(dataset, images, name):
    with flagsaver.as_parsed(dataset=dataset, images=images):
        assert dataset_flags._name_of_the_data() == name

"""What is shown of a row of the log, and under which names."""

from pix2seq_model.training.scalar_names import named_scalars


def test_what_has_no_place_is_left_out():
    shown = named_scalars({"step": 4, "loss": 2, "AP": 0.5, "something": 1.0})
    assert shown == {"loss/all": 2.0, "evaluation/AP": 0.5}


def test_an_ap_that_cannot_be_measured_is_no_number():
    assert named_scalars({"AP": -1.0, "AP50": -1.0}) == {}
    # Other values may be negative.
    assert named_scalars({"loss": -1.0}) == {"loss/all": -1.0}

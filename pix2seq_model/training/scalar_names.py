"""What the values of the log are called where people look at curves."""

from collections.abc import Mapping

# Rows of the log that are shown, each under the heading of its first word.
_NAMES = {
    "loss": "loss/all",
    "loss_coordinates": "loss/coordinates",
    "loss_classes": "loss/classes",
    "loss_noise": "loss/noise",
    "token_accuracy": "accuracy/tokens",
    "validation_loss": "validation/loss",
    "validation_loss_coordinates": "validation/loss_coordinates",
    "validation_loss_classes": "validation/loss_classes",
    "validation_token_accuracy": "validation/token_accuracy",
    "AP": "evaluation/AP",
    "AP50": "evaluation/AP50",
    "learning_rate": "optimizer/learning_rate",
    "gradient_norm": "optimizer/gradient_norm",
    "weight_norm": "optimizer/weight_norm",
    "images_per_second": "speed/images_per_second",
    "input_wait": "speed/share_of_time_waiting_for_input",
}


def named_scalars(values: Mapping[str, float]) -> dict[str, float]:
    """The values of a row that are shown, by their names there."""
    return {
        _NAMES[name]: float(value)
        for name, value in values.items()
        # COCO's -1 is no number: there was nothing to measure.
        if name in _NAMES and not (name in ("AP", "AP50") and value < 0)
    }

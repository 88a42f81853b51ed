"""What an upload to the page may be. Needs no web server."""

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """Of one upload.

    Attributes:
      max_bytes: of the file.
      max_pixels: of the image.
      upload_seconds: in which the file must arrive.
    """

    max_bytes: int = 20_000_000
    max_pixels: int = 50_000_000
    upload_seconds: float = 60.0

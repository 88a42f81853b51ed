"""Fonts that packages bring along, so that none has to be installed, and what they can write.

Pillow's own has the letters of English; the one in matplotlib those of all European languages,
Arabic, Hebrew and others. Neither has Chinese, Japanese or Korean ones: a text in these cannot be
drawn.
"""

import functools
import importlib.util
from pathlib import Path

from PIL import ImageFont

Font = ImageFont.FreeTypeFont
_NO_CHARACTER = "\U0010ffff"
_PILLOW, _MATPLOTLIB = "", "mpl-data/fonts/ttf/DejaVuSans.ttf"


def font_for(text: str, size: int) -> Font:
    """The first font that has all characters of a text; Pillow's if none has."""
    file = _font_of(text)
    return _font(_PILLOW if file is None else file, size)


def is_drawable(text: str) -> bool:
    """Whether a font has all characters of a text."""
    return _font_of(text) is not None


@functools.lru_cache(4096)
def _font_of(text: str) -> str | None:
    files = (_PILLOW, *_matplotlib_font())
    return next((file for file in files if all(_has(file, c) for c in text)), None)


@functools.cache
def _matplotlib_font() -> tuple[str, ...]:
    """Found without importing matplotlib, which is slow to import and may not be there."""
    spec = importlib.util.find_spec("matplotlib")
    folders = spec.submodule_search_locations if spec else None
    paths = [Path(folder) / _MATPLOTLIB for folder in folders or ()]
    return tuple(str(path) for path in paths if path.is_file())


@functools.lru_cache(16384)
def _has(file: str, character: str) -> bool:
    """Whether a font draws a character otherwise than one that no font has."""
    if character.isspace():
        return True
    font = _font(file, 16)
    absent, drawn = font.getmask(_NO_CHARACTER), font.getmask(character)
    return (drawn.size, bytes(drawn)) != (absent.size, bytes(absent))


@functools.lru_cache(256)
def _font(file: str, size: int) -> Font:
    font = ImageFont.truetype(file, size) if file else ImageFont.load_default(size)
    assert isinstance(font, Font)
    return font

import subprocess
import sys

_CHILD = """
import gc
import weakref

from components.conversion.collection import collect_only_new_objects

class Knot:
    def __init__(self):
        self.itself = self

old = Knot()
seen = weakref.ref(old)
collect_only_new_objects()
frozen = gc.get_freeze_count()
new = Knot()
new_seen = weakref.ref(new)
collect_only_new_objects()  # Once in a process: the new object must stay collectable.
del old, new
gc.collect()
print(frozen > 1000, seen() is not None, new_seen() is None, gc.get_freeze_count() <= frozen)
"""


def test_old_objects_are_left_alone_and_new_ones_collected():
    shown = subprocess.run(
        [sys.executable, "-c", _CHILD], capture_output=True, text=True, check=True
    ).stdout
    assert shown.split() == ["True"] * 4

"""The tests, and the programs that they start.

Python looks for garbage less often here: while modules are imported and TensorFlow traces a step,
millions of objects are made and kept, and to look through them takes a quarter of the time.
"""

import gc

gc.set_threshold(50_000)

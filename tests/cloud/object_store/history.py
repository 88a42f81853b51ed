"""All states of a bucket that a reader could have seen, and what must be true in each of them."""

import collections
import re
import threading

from tests.cloud.object_store.emulator import Emulator

# Under these names something is in the making; nobody else reads them.
_IN_THE_MAKING = re.compile(r"(^|/)(tmp-[^/]*|\.[^/]*)(/|$)|\.tmp-\d+$")
# If the first is there, so must be all that the second fits in the last state.
_LAST_OF_A_FOLDER = {
    "examples/dataset_info.json": r"^examples/Split-",
    "model/model.json": r"^model/(model\.weights\.h5|run\.json|history/.*\.jsonl)$",
    "model/Format-Serving/saved_model.pb": r"^model/Format-Serving/(variables|assets\.extra)/.",
    "imported/model.json": r"^imported/model\.weights\.h5$",
    "evaluation/metrics.json": r"^evaluation/(detections|ground_truth)\.json$",
}


class History:
    """What was under each name at any time; `note` is called after every change.

    Attributes:
      versions: MD5s by name.
      states: number of states that were looked at.
    """

    def __init__(self, bucket: Emulator, prefix: str) -> None:
        self._bucket, self._prefix = bucket, prefix
        self._lock = threading.Lock()
        self._states: list[set[str]] = []
        self.versions: dict[str, set[str]] = collections.defaultdict(set)

    @property
    def states(self) -> int:
        return len(self._states)

    def note(self) -> None:
        with self._lock:
            digests = self._bucket.digests(self._prefix)
            names = {name.removeprefix(self._prefix): digest for name, digest in digests.items()}
            finished = {n: d for n, d in names.items() if not _IN_THE_MAKING.search(n)}
            for name, digest in finished.items():
                self.versions[name].add(digest)
            self._states.append(set(finished))

    def half_written(self, *, rewritten: re.Pattern) -> list[str]:
        """What a reader could have seen that was not whole, in words; nothing if all is well.

        Args:
          rewritten: matches the names of files that may change.
        """
        found = [
            f"{name} had {len(digests)} contents"
            for name, digests in self.versions.items()
            if len(digests) > 1 and not rewritten.search(name)
        ]
        rules = dict(_LAST_OF_A_FOLDER)
        for name in self._states[-1]:
            if pushed := re.match(r"^served/(\d+)/saved_model\.pb$", name):
                rules[name] = rf"^served/{pushed[1]}/(variables|assets\.extra)/."
                rules[f"served/{pushed[1]}/pushed.json"] = rf"^{re.escape(name)}$"
        for last, others in rules.items():
            wanted = {n for n in self._states[-1] if re.search(others, n) and n[-1] != "/"}
            missing = [sorted(wanted - names) for names in self._states if last in names]
            found += [f"{last} without {names}" for names in missing if names]
        return sorted(set(found))

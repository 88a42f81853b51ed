"""Which answers go wrong, and how: decided by a seed, the request, and how often it came."""

import collections
import dataclasses
import enum
import hashlib
import threading


class Fault(enum.Enum):
    """What happens to one request."""

    TOO_MANY_REQUESTS = "429 instead of an answer"
    UNAVAILABLE = "503 instead of an answer"
    CUT_REQUEST = "connection cut in the middle of the request's body; the store sees nothing"
    CUT_ANSWER = "connection cut in the middle of the answer's body"
    LOST_ANSWER = "connection cut after the store did it, before the answer"
    SLOW = "the answer comes late"


@dataclasses.dataclass(frozen=True, kw_only=True)
class FaultPlan:
    """How often what goes wrong.

    Attributes:
      seed: other seeds hit other requests.
      shares: of all requests, by fault.
      at_most: how often in a row the same request fails; clients retry more often than that.
      slow_s: how late a slow answer is, in seconds.
    """

    seed: int = 0
    shares: dict[Fault, float] = dataclasses.field(default_factory=dict)
    at_most: int = 2
    slow_s: float = 0.3

    def __post_init__(self) -> None:
        if sum(self.shares.values()) > 1:
            raise ValueError(f"more faults than requests: {self.shares}")


class Faults:
    """Carries a plan out and counts.

    Requests are told apart by method and address, not by the order in which threads send them: the
    same seed hits the same requests in every run that sends the same ones.

    Attributes:
      counts: faults done so far.
    """

    def __init__(self, plan: FaultPlan) -> None:
        self._plan = plan
        self._lock = threading.Lock()
        self._seen: collections.Counter[str] = collections.Counter()
        self._in_a_row: collections.Counter[str] = collections.Counter()
        self.counts: collections.Counter[Fault] = collections.Counter()

    @property
    def slow_s(self) -> float:
        return self._plan.slow_s

    def next(self, request: str, *, possible: frozenset[Fault]) -> Fault | None:
        """The fault of this request, such as "GET /b/bucket/o/name", or None.

        Args:
          request: method and address.
          possible: what can happen to it: nothing is cut that has no body.
        """
        with self._lock:
            self._seen[request] += 1
            key = f"{self._plan.seed} {request} {self._seen[request]}"
            number = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]) / 2**64
            fault = self._drawn(number)
            if fault not in possible or self._in_a_row[request] >= self._plan.at_most:
                self._in_a_row[request] = 0
                return None
            self._in_a_row[request] += 1
            self.counts[fault] += 1
            return fault

    def _drawn(self, number: float) -> Fault | None:
        for fault, share in self._plan.shares.items():
            if number < share:
                return fault
            number -= share
        return None

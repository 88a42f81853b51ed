"""Finding, reading and unpacking images in a bucket, next to Google's own client, in one run.

    python benchmarks/bucket.py --latency_ms=30
    python benchmarks/bucket.py --latency_ms=0

The store is `object_server.py` in a process of its own, by HTTPS on this machine with a certificate
made now; every client is the real one and signs in. Its processor time is that of this process, all
threads, and so without the store. Both sides take turns, a connection open before; medians.

plain   google-cloud-storage as one writes it: a client, `list_blobs` and a dictionary; a pool of
        nine threads, as it keeps ten connections, with `download_as_bytes`; `tarfile` on
        `blob.open` with `upload_from_string` in the same pool.
ours    the functions that the conversion's and the unpacking's workers call.
beam    for comparison, Beam's own file system, a client a call, which the conversion used before.
"""

import argparse
import contextlib
import functools
import io
import logging
import multiprocessing
import os
import statistics
import sys
import tarfile
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.object_server import Store, serving

_PLAIN_THREADS = 9
_BUCKET = "data"
_FOLDER = f"gs://{_BUCKET}/images"
# Finding is a listing, which the plain client does as well, and then the rules of `image_names`.
_COMPARED = (
    ("ours", "plain"),
    ("ours, listing alone", "plain"),
    ("ours", "plain, a request each"),
    ("ours", "beam"),
)


def _serve(folder: str, sizes: dict[str, int], latency_s: float, pipe: Any) -> None:
    """Serves the objects; answers each message of the pipe with the requests since the last."""
    noise = os.urandom(2 * max([*sizes.values(), 1]))
    with serving(Store(latency_s), certificate=Path(folder) / "server.pem") as store:
        for number, (name, size) in enumerate(sizes.items()):
            start = number % max(size, 1)
            store.put(f"{_BUCKET}/{name}", noise[start : start + size])
        pipe.send(store.address)
        with contextlib.suppress(EOFError):
            while content := pipe.recv():
                if isinstance(content, bytes):
                    store.put(f"{_BUCKET}/archives/a.tar", content)
                pipe.send((store.class_a(), store.class_b(), store.connections))
                store.asked.clear()
                store.connections = 0


@contextlib.contextmanager
def served(sizes: dict[str, int], latency_s: float) -> Iterator[Any]:
    """Yields a pipe to the store, with this process's clients led to it."""
    from tests.cloud.object_store.certificates import write_certificates, write_service_account

    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        write_certificates(Path(folder), ["localhost"])
        here, there = context.Pipe()
        process = context.Process(target=_serve, args=(folder, sizes, latency_s, there))
        process.start()
        try:
            address = here.recv()
            account = Path(folder) / "account.json"
            write_service_account(account, project="project", token_uri=f"{address}/token")
            os.environ |= {
                "STORAGE_EMULATOR_HOST": address,
                "REQUESTS_CA_BUNDLE": f"{folder}/authority.pem",
                "GOOGLE_APPLICATION_CREDENTIALS": str(account),
                "GOOGLE_CLOUD_PROJECT": "project",
                "NO_GCE_CHECK": "true",
                "no_proxy": "localhost",
            }
            yield here
        finally:
            here.send(None)
            process.join(10)
            process.kill()


class Plain:
    """One client of Google's library, as it comes."""

    def __init__(self) -> None:
        from google.cloud import storage

        self._bucket = storage.Client().bucket(_BUCKET)
        self._threads = futures.ThreadPoolExecutor(_PLAIN_THREADS)

    def find(self, names: list[str]) -> int:
        listed = self._bucket.client.list_blobs(self._bucket, prefix="images/")
        blobs = {blob.name: (blob.size, blob.updated) for blob in listed}
        return sum(f"images/{name}" in blobs for name in names)

    def look_up(self, names: list[str]) -> int:
        return sum(map(bool, self._threads.map(self._bucket.get_blob, _in_folder(names))))

    def read(self, names: list[str]) -> int:
        def read(name: str) -> int:
            return len(self._bucket.blob(name).download_as_bytes())

        return sum(map(bool, self._threads.map(read, _in_folder(names))))

    def unpack(self, turn: int) -> int:
        def upload(name: str, content: bytes) -> bool:
            self._bucket.blob(name).upload_from_string(content)
            return True

        done = []
        blob = self._bucket.blob("archives/a.tar")
        with blob.open("rb") as file, tarfile.open(fileobj=file, mode="r|*") as tar:
            for member in tar:
                content = tar.extractfile(member).read()
                done.append(self._threads.submit(upload, f"plain{turn}/{member.name}", content))
        return sum(future.result() for future in done)


class Ours:
    """What the workers of the project's jobs call; no runner."""

    def __init__(self, names: list[str]) -> None:
        from components.conversion.options import ConversionOptions, SplitSource

        source = SplitSource(images=_FOLDER, annotations="")
        self._options = ConversionOptions(name="benchmark", splits={"train": source})
        self._sizes = dict.fromkeys(names, 0)

    def find(self, names: list[str]) -> int:
        from apache_beam.pvalue import TaggedOutput

        from components.conversion.batches import BatchPacker, unpack
        from components.conversion.list_images import _list_below, _list_top, name_key
        from components.conversion.locate_images import _locate
        from components.conversion.read_annotations import FILE_NAME

        rows = BatchPacker(FILE_NAME)
        shuffled = defaultdict(list)
        for number, name in enumerate(names):
            for key, batch in rows.add(name_key(name), ("train", str(number), number, name)):
                shuffled[key].append(batch)
        outputs = [*rows.flush(), *_list_top(_FOLDER)]
        tops = {}
        while outputs:
            output = outputs.pop()
            if not isinstance(output, TaggedOutput):
                shuffled[output[0]].append(output[1])
            elif output.tag == "tops":
                tops |= [output.value]
            else:
                outputs += _list_below(output.value)
        found = (
            row
            for element in shuffled.items()
            for _, batch in _locate(element, self._options, tops)
            for row in unpack(batch)[1]
        )
        return sum(1 for _, location, *_ in found if location)

    def listing(self) -> int:
        from components.storage.bucket import list_objects

        return sum(1 for _ in list_objects(_FOLDER))

    def read(self, names: list[str]) -> int:
        from components.conversion.write_shards import _READ_AHEAD_IN_BUCKET
        from components.storage.image_store import open_store, read_with_retries
        from components.storage.shards import ShardOwner

        owner, store = ShardOwner("", in_bucket=True), open_store(_FOLDER)
        owner.setup()
        try:
            read = owner.read_ahead(
                lambda name: read_with_retries(store, name),
                names,
                most=_READ_AHEAD_IN_BUCKET,
                size=self._sizes.__getitem__,
            )
            return sum(bool(future.result()) for _, future in read)
        finally:
            owner.teardown()

    def unpack(self, turn: int) -> int:
        from components.conversion.unpack_archives import _unpack

        report = _unpack(
            f"gs://{_BUCKET}/archives/a.tar",
            f"gs://{_BUCKET}/ours{turn}",
            max_member_bytes=200_000_000,
        )
        return report["files"]


class Beam:
    """Beam's file system for gs://, as it comes."""

    def find(self, names: list[str]) -> int:
        from apache_beam.io.filesystems import FileSystems

        system = FileSystems.get_filesystem(_FOLDER)
        return sum(bool(system.metadata(f"{_FOLDER}/{name}")) for name in names)

    def read(self, names: list[str]) -> int:
        from apache_beam.io.filesystems import FileSystems

        done = 0
        for name in names:
            with FileSystems.open(f"{_FOLDER}/{name}") as file:
                done += bool(file.read())
        return done


def _in_folder(names: list[str]) -> list[str]:
    return [f"images/{name}" for name in names]


def archive(names: list[str], num_bytes: int) -> bytes:
    file, noise = io.BytesIO(), os.urandom(2 * num_bytes)
    with tarfile.open(fileobj=file, mode="w") as tar:
        for number, name in enumerate(names):
            member = tarfile.TarInfo(name)
            member.size = num_bytes
            tar.addfile(member, io.BytesIO(noise[number % num_bytes :]))
    return file.getvalue()


class Measured:
    """The rounds of one way of doing something."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.processor_ms: list[float] = []
        self.operations = ""

    def add(self, do: Callable[[], int], num_images: int, pipe: Any) -> None:
        pipe.send(True)
        pipe.recv()
        start, used = time.perf_counter(), time.process_time()
        if (done := do()) != num_images:
            raise SystemExit(f"{done} images of {num_images}")
        self.seconds.append((time.perf_counter() - start) / num_images)
        self.processor_ms.append((time.process_time() - used) * 1000 / num_images)
        pipe.send(True)
        class_a, class_b, connections = pipe.recv()
        counts = [f"{class_a:,} of class A", f"{class_b:,} of class B"]
        self.operations = f"{', '.join(counts)}, {connections} new connections"

    def __str__(self) -> str:
        median = statistics.median(self.processor_ms)
        rounds = ", ".join(f"{value:.3g}" for value in self.processor_ms)
        return (
            f"{1 / statistics.median(self.seconds):8,.0f} images/s  {median:8.3f} processor ms "
            f"an image ({rounds})  {1000 / median:8,.0f} images/s a core  {self.operations}"
        )


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--latency_ms", type=float, default=30.0)
    parser.add_argument("--listed", type=int, default=20_000, help="images in the folder")
    parser.add_argument("--images", type=int, default=600, help="that are read and unpacked")
    parser.add_argument("--kilobytes", type=int, default=200, help="of each of these")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args(arguments)
    # Google's library asks in the background for something that is not here, and says so.
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    names = [f"patch{n % 20}/objects365_v1_{n:08d}.jpg" for n in range(given.listed)]
    num_bytes = given.kilobytes * 1000
    sizes = {f"images/{n}": num_bytes if i < given.images else 1 for i, n in enumerate(names)}
    some, few = names[: given.images], names[: max(1, given.images // 20)]
    with served(sizes, given.latency_ms / 1000) as pipe:
        pipe.send(archive(some, num_bytes))
        pipe.recv()
        plain, ours, beam = Plain(), Ours(names), Beam()
        # A connection each, and what is imported at first use.
        plain.read(few), ours.read(few), ours.find(few), beam.read(few[:1])
        ways: dict[str, dict[str, tuple[int, Callable[[int], int]]]] = {
            "finding": {
                "plain": (len(names), lambda turn: plain.find(names)),
                "ours": (len(names), lambda turn: ours.find(names)),
                "ours, listing alone": (len(names), lambda turn: ours.listing()),
                "plain, a request each": (len(some), lambda turn: plain.look_up(some)),
                "beam": (len(few), lambda turn: beam.find(few)),
            },
            "reading": {
                "plain": (len(some), lambda turn: plain.read(some)),
                "ours": (len(some), lambda turn: ours.read(some)),
                "beam": (len(few), lambda turn: beam.read(few)),
            },
            "unpacking": {
                "plain": (len(some), plain.unpack),
                "ours": (len(some), ours.unpack),
            },
        }
        print(f"{given.listed:,} images listed, {given.images:,} of {given.kilobytes} kB read and "
              f"unpacked, latency {given.latency_ms:g} ms, {os.cpu_count()} cores")  # fmt: skip
        for what, by_way in ways.items():
            measured = {way: Measured() for way in by_way}
            for turn in range(given.rounds):
                for way, (number, do) in by_way.items():
                    measured[way].add(functools.partial(do, turn), number, pipe)
            for way, found in measured.items():
                print(f"{what:9s} {way:22s} {found}", flush=True)
            medians = {way: statistics.median(m.processor_ms) for way, m in measured.items()}
            for way, other in _COMPARED:
                if way in medians and other in medians:
                    ratio = medians[way] / medians[other]
                    print(f"{what:9s} processor time, {way} / {other}: {ratio:.2f}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])

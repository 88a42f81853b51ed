"""The memory that uploads on their way take together."""

import asyncio

import pytest
from starlette.requests import Request

from pix2seq_model.web_demo.uploads import RefusedError, Uploads


def upload(received, length):
    headers = [(b"content-length", str(length).encode())]
    return Request({"type": "http", "method": "POST", "headers": headers}, received.get)


def part(content, *, more):
    return {"type": "http.request", "body": content, "more_body": more}


def test_the_oldest_gives_way_where_memory_is_short():
    async def scenario():
        uploads = Uploads(max_bytes=100, seconds=60, budget=150)
        queues = [asyncio.Queue() for _ in range(3)]
        tasks = []
        for queue in queues:
            tasks.append(asyncio.create_task(uploads.read(upload(queue, 100))))
            queue.put_nowait(part(b"x" * 60, more=True))
            await asyncio.sleep(0.01)
        with pytest.raises(RefusedError, match="others needed its place"):
            await tasks[0]
        for queue in queues[1:]:
            queue.put_nowait(part(b"y" * 10, more=False))
        return await asyncio.gather(*tasks[1:])

    assert asyncio.run(scenario()) == [b"x" * 60 + b"y" * 10] * 2

from __future__ import annotations

import asyncio
import io
import json

from firehose_indexer.log import Log
from firehose_indexer.ops.dump import dump


async def test_every_task_and_every_queue_is_told():
    stream = io.StringIO()
    async with asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(asyncio.sleep(600), name=f"task {number}") for number in range(15)]
        await asyncio.sleep(0)
        dump(Log("INFO", "json", stream=stream).logger, {"stream": 17})
        for task in waiting:
            task.cancel()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert {line["reason"] for line in lines if line["event"] == "dump.task"} >= {
        f"task {n}" for n in range(15)
    }
    assert any("sleep" in where for line in lines[:-1] for where in line["where"])
    assert (lines[-1]["event"], lines[-1]["stream"]) == ("dump.queues", 17)

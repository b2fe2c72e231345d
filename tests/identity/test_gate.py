from __future__ import annotations

import asyncio

import pytest

from firehose_indexer.identity.gate import Full, Gate, Priority, Ticket


class Errands:
    """Tasks that enter a gate and stay until told to go."""

    def __init__(self, gate: Gate, tasks: asyncio.TaskGroup) -> None:
        self.gate = gate
        self.tasks = tasks
        self.inside: list[str] = []
        self.refused: list[str] = []
        self.go = asyncio.Event()

    async def send(
        self, name: str, priority: Priority, host: str | None = None, *, directory: bool = False
    ) -> tuple[Ticket, asyncio.Task]:
        ticket = Ticket(priority)
        task = self.tasks.create_task(self._run(name, ticket, host, directory))
        await asyncio.sleep(0)
        return ticket, task

    async def _run(self, name: str, ticket: Ticket, host: str | None, directory: bool) -> None:
        try:
            async with self.gate.slot(ticket, host, directory=directory):
                self.inside.append(name)
                await self.go.wait()
        except Full:
            self.refused.append(name)


async def test_5_of_15_slots_stay_free_for_live_errands_to_the_directory():
    gate = Gate(15, 5)
    async with asyncio.TaskGroup() as tasks:
        errands = Errands(gate, tasks)
        for number in range(10):
            await errands.send(f"common {number}", Priority.hydration, directory=True)
            await errands.send(f"web {number}", Priority.live, f"{number}.example.com")
        assert (len(errands.inside), gate.busy, gate.waiting) == (10, 10, 10)
        for number in range(7):
            await errands.send(f"live {number}", Priority.live, directory=True)
        assert (gate.busy, gate.waiting) == (15, 12)
        errands.go.set()
    assert (gate.busy, gate.waiting, len(errands.inside)) == (0, 0, 27)


async def test_live_errands_are_served_as_they_came_where_a_slot_suits_both():
    gate = Gate(1, 0)
    async with asyncio.TaskGroup() as tasks:
        errands = Errands(gate, tasks)
        await errands.send("first", Priority.live)
        for name, directory in (("plc 1", True), ("web", False), ("plc 2", True)):
            await errands.send(name, Priority.live, directory=directory)
        errands.go.set()
    assert errands.inside == ["first", "plc 1", "web", "plc 2"]


async def test_the_most_urgent_goes_first_and_a_promoted_errand_moves_up():
    gate = Gate(1, 0)
    async with asyncio.TaskGroup() as tasks:
        errands = Errands(gate, tasks)
        await errands.send("first", Priority.live)
        await errands.send("revalidation", Priority.revalidation)
        ticket, _ = await errands.send("promoted", Priority.revalidation)
        await errands.send("parked", Priority.parked)
        gate.promote(ticket, Priority.live)
        errands.go.set()
    assert errands.inside == ["first", "promoted", "parked", "revalidation"]


async def test_a_full_queue_refuses_the_least_urgent():
    gate = Gate(1, 0, bound=2)
    async with asyncio.TaskGroup() as tasks:
        errands = Errands(gate, tasks)
        await errands.send("inside", Priority.live)
        await errands.send("refresh", Priority.refresh)
        await errands.send("revalidation", Priority.revalidation)
        await errands.send("another", Priority.revalidation)
        assert errands.refused == ["another"]
        await errands.send("parked", Priority.parked)
        await asyncio.sleep(0)
        assert errands.refused == ["another", "revalidation"]
        errands.go.set()
    assert errands.inside == ["inside", "parked", "refresh"]


async def test_4_at_a_time_go_to_one_host():
    gate = Gate(15, 5)
    async with asyncio.TaskGroup() as tasks:
        errands = Errands(gate, tasks)
        for number in range(8):
            await errands.send(f"{number}", Priority.hydration, "slow.example.com")
        await errands.send("other", Priority.hydration, "other.example.com")
        assert (len(errands.inside), gate.waiting) == (5, 4)
        errands.go.set()
    assert (gate.busy, gate.waiting) == (0, 0)


@pytest.mark.parametrize("granted", [False, True])
async def test_a_cancelled_errand_leaves_nothing_behind(granted):
    gate = Gate(1, 0)
    async with asyncio.TaskGroup() as tasks:
        errands = Errands(gate, tasks)
        _, first = await errands.send("first", Priority.live)
        _, second = await errands.send("second", Priority.live)
        if granted:
            first.cancel()  # frees the slot for the second, which is cancelled before it can run
            await asyncio.sleep(0)
        second.cancel()
        await asyncio.sleep(0.01)
        errands.go.set()
    assert (gate.busy, gate.waiting) == (0, 0)
    async with asyncio.timeout(1), gate.slot(Ticket(Priority.revalidation)):
        assert gate.busy == 1

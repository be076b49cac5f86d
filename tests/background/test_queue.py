"""Whose turn it is: order, limits, and that a limit costs nobody else anything."""

from __future__ import annotations

from lambda_ric.background.queue import Queue
from lambda_ric.background.work import CANCELLED, Slot, Work


class CountingSlot(Slot):
    """A slot that knows how often it was looked at."""

    __slots__ = ("looks",)

    def __init__(self, most: int) -> None:
        super().__init__(most)
        self.looks = 0

    @property
    def is_full(self) -> bool:
        """Whether the next one has to wait."""
        self.looks += 1
        return super().is_full


def filled(*works: Work) -> Queue:
    queue = Queue()
    for work in works:
        queue.put(work)
    return queue


def limited(name: str, slot: Slot) -> Work:
    work = Work(name)
    work.slot = slot
    return work


def taken(queue: Queue) -> list[Work]:
    return list(iter(queue.take, None))


def names(works: list[Work]) -> list[str]:
    return [work.name for work in works]


def test_work_is_taken_in_the_order_of_its_hand_over() -> None:
    """And nothing is left then."""
    queue = filled(Work("a"), Work("b"), Work("c"))

    assert queue
    assert names(taken(queue)) == ["a", "b", "c"]
    assert not queue


def test_work_that_is_held_back_has_its_turn_when_one_of_its_slot_has_ended_before_what_came_later() -> None:
    """It stood before that."""
    slot = Slot(1)
    queue = filled(limited("held 1", slot), limited("held 2", slot), limited("held 3", slot), Work("free"))
    first, free = taken(queue)
    queue.put(Work("later"))
    queue.leave(first)

    assert names([first, free]) == ["held 1", "free"]
    assert names(taken(queue)) == ["held 2", "later"]


def test_work_that_nobody_could_begin_is_the_next_again() -> None:
    """And does not count as running."""
    slot = Slot(1)
    queue = filled(limited("a", slot), limited("b", slot))
    work = queue.take()
    assert work is not None
    queue.put_back(work)

    assert names(taken(queue)) == ["a"]


def test_work_that_ended_while_it_waited_takes_no_room() -> None:
    """It was cancelled, say."""
    slot = Slot(1)
    cancelled = limited("cancelled", slot)
    queue = filled(cancelled, limited("a", slot))
    cancelled.end(CANCELLED, 0.0)

    assert names(taken(queue)) == ["a"]


def test_steps_grow_with_the_number_of_pieces_and_not_with_its_square() -> None:
    """However many are held back, nobody goes past them for every other piece."""
    slot = CountingSlot(1)
    queue = filled(*(limited("held", slot) for _ in range(1000)), *(Work("free") for _ in range(1000)))
    ended = 0
    running = taken(queue)
    while running:
        ended += len(running)
        for work in running:
            queue.leave(work)
        running = taken(queue)

    assert ended == 2000
    assert slot.looks < 5000

"""The queue never hands out a photo that somebody else holds, or one that is missing."""

import os
import threading

import pytest

from sam_hub.engine.queue import NotYours, Queue

from .conftest import version


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_each_gets_another_photo_and_keeps_it(project):
    queue = Queue(project)
    mine, yours = queue.next("me", "ann"), queue.next("you", "bob")
    assert mine.id != yours.id
    assert queue.next("me", "ann").id == mine.id, "a page that is loaded again goes on"
    with pytest.raises(NotYours, match="ann has this photo open"):
        queue.take(mine.id, "you", "bob")


def test_until_all_are_done(project):
    queue, done = Queue(project), []
    while photo := queue.next("me", "ann"):
        done.append(photo.id)
        queue.finish(photo.id, "me", "ann", "skipped" if len(done) == 2 else "done")
    assert sorted(done) == [1, 2, 3, 4, 5, 6]
    assert queue.before("ann", None) == done[-1] and queue.before("ann", done[-1]) == done[-2]
    assert queue.before("bob", None) is None


def test_a_lease_that_ran_out_goes_back(project):
    clock = Clock()
    queue = Queue(project, lease=60, clock=clock)
    mine = queue.next("me", "ann")
    clock.now += 59
    assert queue.next("you", "bob").id != mine.id
    queue.keep(mine.id, "me", "ann")
    clock.now += 59
    queue.keep(mine.id, "me", "ann")
    clock.now += 61
    assert queue.next("third", "eve").id == mine.id
    with pytest.raises(NotYours, match="eve"):
        queue.finish(mine.id, "me", "ann", "done")


def test_a_late_sign_of_life_takes_nothing_back(project):
    queue = Queue(project)
    first = queue.next("me", "ann")
    queue.finish(first.id, "me", "ann", "done")
    queue.keep(first.id, "me", "ann")  # sent before, and slower
    second = queue.next("me", "ann")
    assert second.id != first.id, "a photo that was put away came back"
    queue.keep(first.id, "me", "ann")
    assert queue.next("you", "bob").id != second.id, "a photo given twice"
    assert queue.next("me", "ann").id == second.id


def test_what_vanished_or_changed_is_passed_over(project):
    queue = Queue(project)
    first = queue.next("me", "ann")
    queue.finish(first.id, "me", "ann", "open")
    os.rename(first.path, first.path + ".away")
    assert queue.next("me", "ann").id != first.id
    assert project.photo(first.id).state == "lost"


def test_a_photo_given_twice_never_by_many(make_project):
    project = make_project(40)
    queue, given, lock = Queue(project), [], threading.Lock()

    def work(holder: str) -> None:
        while photo := queue.next(holder, holder):
            with lock:
                given.append(photo.id)
            project.save(photo, version(f"{holder}{photo.id}", seed=photo.id))
            queue.finish(photo.id, holder, holder, "done")

    threads = [threading.Thread(target=work, args=(f"h{i}",)) for i in range(4)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert sorted(given) == list(range(1, 41))

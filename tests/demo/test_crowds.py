"""Short runs of benchmarks: malformed requests to every route, and many users, some of whom disconnect."""

from demo_fuzz import fuzz
from demo_routes import reachable, uncalled
from demo_users import crowd


def test_nonsense_is_refused_in_a_sentence(running):
    done = fuzz(running.url, 400, seed=1)
    assert not done.faults
    assert sum(done.counts.values()) >= 400 and {status for _, status in done.counts} >= {200, 400, 404}
    routes = reachable(running.server)
    assert len(routes) > 30 and not uncalled(routes, done.calls), "the nonsense goes everywhere"


def test_a_crowd_gets_answers_about_its_own_photos(running):
    seen = crowd(running.url, users=6, seconds=4, think=0.3, leavers=1 / 6)
    assert not seen.errors and not seen.mixed
    assert len(seen.encodes) >= 5 and len(seen.times) >= 10 and seen.looks

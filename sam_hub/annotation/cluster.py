"""Annotation on many processes and machines: Ray Data with a pool of actors (the extra ``ray``).

Ray schedules the photos, restarts killed workers and gives their photos to others. Photos and results must have the
same paths on every machine.
"""

import json
import logging
import os
import socket
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from ..errors import SamHubError
from ..inference.opening import open_predictor
from .plan import Photo
from .work import AnnotationTask, Annotator, Outcome

OBJECT_STORE = 128 * 2**20
"""Bytes of Ray's shared memory on this machine; small, as only paths and numbers are exchanged."""
MOST_TASKS = 10_000
STARTS = 3
"""Attempts to start Ray on this machine: it gives up after 30 seconds, which a busy machine can exceed."""
TIMEOUT = 10
"""Seconds to wait for a connection to the cluster."""
RETRIES = 5
"""Retries of a photo after its worker was killed."""


class Worker:
    """The actor: loads the model once, then annotates photos one by one."""

    def __init__(self, task: AnnotationTask) -> None:
        predictor = open_predictor(task.model, task.device, cache_size=0, threads=task.threads)
        self.annotator = Annotator(task, predictor)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list]:
        (photo,) = batch["photo"]
        return {"outcome": [json.dumps(asdict(self.annotator(Photo(**json.loads(photo)))))]}


def annotate_on_ray(
    task: AnnotationTask, photos: Sequence[Photo], address: str | None = None, workers: int | None = None
) -> Iterator[Outcome]:
    """Yield the outcome of each photo, in order of completion; arguments and errors as in `spread_on_ray`."""
    rows = [json.dumps(asdict(photo)) for photo in photos]
    waiting = {photo.name: photo for photo in photos}
    for answer in spread_on_ray(Worker, task, rows, task.threads, task.device, address, workers):
        outcome = Outcome(**json.loads(answer))
        waiting.pop(outcome.name, None)
        yield outcome
    for photo in waiting.values():
        yield Outcome(photo.name, error=f"{photo.source}: the worker failed at it; try it with --engine local")


def spread_on_ray(
    worker: type,
    task: Any,
    rows: Sequence[str],
    threads: int,
    device: str | None = None,
    address: str | None = None,
    workers: int | None = None,
) -> Iterator[str]:
    """Yield the answer to each row, in order of completion; rows that kill every worker have none.

    worker: class, constructed once per process with ``task``; called with {"photo": [row]}, returns {"outcome": [text]}
    rows: ASCII, as Arrow rejects names that are not UTF-8
    threads: per worker; device: of the worker's model
    address: of a cluster, as for ``ray.init``; default: this machine only
    workers: maximum number; default: as many as fit
    raises: SamHubError if Ray cannot be reached
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    import ray

    if address:
        _knock(address)
    gpus = 1 if (device or "").startswith("cuda") else 0
    local = {} if address else {"object_store_memory": OBJECT_STORE, "include_dashboard": False}
    for tries_left in reversed(range(1 if address else STARTS)):
        try:
            ray.init(address=address or "local", logging_level=logging.ERROR, log_to_driver=False, **local)
            break
        except Exception as e:  # Ray raises several kinds of connection errors
            ray.shutdown()
            if not tries_left:
                raise SamHubError(_unreachable(address, e)) from e
    try:
        yield from _run(ray, worker, task, rows, threads, gpus, workers)
    finally:
        ray.shutdown()


def _unreachable(address: str | None, error: Exception) -> str:
    if address:
        return (
            f"Ray cannot be reached at {address} ({error}); check --ray-address; for a token, set RAY_AUTH_MODE=token"
        )
    why = " ".join(str(error).split())
    return f"Ray did not start on this machine ({why}); try again when it is less busy, or take --engine local"


def _knock(address: str) -> None:
    """Check quickly that the address accepts connections, as Ray takes minutes to fail. raises: SamHubError"""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():  # "auto" and the like
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), TIMEOUT).close()
    except (OSError, OverflowError) as e:
        raise SamHubError(f"no Ray cluster answers at {address} ({e}); start Ray there, or check --ray-address") from e


def _run(
    ray: Any, worker: type, task: Any, rows: Sequence[str], threads: int, gpus: int, workers: int | None
) -> Iterator[str]:
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.max_errored_blocks = -1  # a photo that kills its workers must not fail the others
    room = ray.cluster_resources()
    most = int(room.get("GPU", 0) / gpus if gpus else room.get("CPU", 1) / threads)
    pool = ray.data.ActorPoolStrategy(min_size=1, max_size=max(1, min(workers or most, most, len(rows))))
    items = [{"photo": row} for row in rows]
    answers = ray.data.from_items(items, override_num_blocks=min(len(items), MOST_TASKS)).map_batches(
        worker,
        fn_constructor_args=(task,),
        batch_size=1,
        compute=pool,
        num_cpus=threads,
        num_gpus=gpus,
        max_task_retries=RETRIES,
    )
    for answer in answers.iter_rows():
        yield answer["outcome"]

"""Nonsense for every endpoint of the web page: each answer must be a result or a refusal in one sentence.

python benchmarks/demo_fuzz.py [--calls 10000] [--seed 0]
"""

import argparse
import json
import random
from collections import Counter
from typing import Any

import httpx
from demo_server import PHOTOS, serving

SECRET = ("root:", "Traceback", 'File "/', "site-packages", "/home/", "/work/")
"""What no answer may hold: files of the machine, and the inside of the program."""

ENDPOINTS = ("segment", "everything", "export", "import", "again", "encode", "photo", "api/encode", "api/segment",
             "api/everything", "address", "raw")  # fmt: skip
ADDRESSES = ("/gradio_api/file={}", "/file={}", "/page/{}", "/sam/photo/{}", "/sam/{}", "/gradio_api/{}", "/{}")
PATHS = (
    "/etc/passwd",
    "../../etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    "....//etc/passwd",
    "app.py",
    "upload",
    "queue/join",
)


class Fuzzer:
    """Calls that depend on the seed alone (ids of photos apart)."""

    def __init__(self, url: str, seed: int) -> None:
        self.random = random.Random(seed)
        self.http = httpx.Client(base_url=url, timeout=60)
        self.counts: Counter[tuple[str, int]] = Counter()
        self.faults: list[str] = []
        data = PHOTOS[0].read_bytes()
        answer = self.http.post("/sam/encode", content=data)
        self.id = json.loads(answer.text.splitlines()[-1])["id"]
        self.jpeg = data

    def scalar(self) -> Any:
        r = self.random
        return r.choice(
            [None, True, False, 0, 1, -1, r.randint(-(10**6), 10**6), r.uniform(-500, 500), 1e308, 10**30, "", "x",
             "/etc/passwd", "pocket", "fast", "masks", self.id, "💥\0", "A" * r.randint(0, 3000)]
        )  # fmt: skip

    def value(self, depth: int = 0) -> Any:
        r = self.random
        if depth > 3 or r.random() < 0.4:
            return self.scalar()
        if r.random() < 0.5:
            return [self.value(depth + 1) for _ in range(r.randint(0, 5))]
        names = ("points", "labels", "box", "path", "meta", "url", "size", "counts", "result", "mask", "rle", "x")
        return {r.choice(names): self.value(depth + 1) for _ in range(r.randint(0, 4))}

    def maybe(self, good: Any, wrong: float = 0.25) -> Any:
        """Mostly what is right, so that the nonsense comes further than the first check."""
        return self.value() if self.random.random() < wrong else good

    def xy(self) -> list:
        return [self.maybe(self.random.uniform(-20, 480), 0.08), self.maybe(self.random.uniform(-20, 320), 0.08)]

    def prompt(self) -> Any:
        r = self.random
        points = [self.xy() for _ in range(r.choice([0, 1, 1, 2, 5]))]
        stroke = {"points": [self.xy() for _ in range(3)], "radius": self.maybe(r.uniform(0, 90))}
        parts = {
            "points": self.maybe(points, 0.1),
            "labels": self.maybe([r.choice([0, 1, 1, 2]) for _ in points], 0.15),
            "box": self.maybe([*self.xy(), *self.xy()]),
            "strokes": self.maybe([stroke]),
            "refine": {"result": self.maybe("r"), "mask": self.maybe(0)},
        }
        kept = {k: v for k, v in parts.items() if k in ("points", "labels") or r.random() < 0.2}
        return self.maybe(kept, 0.1)

    def rle(self) -> Any:
        r = self.random
        zeros = r.randint(0, 300 * 451)
        whole = {"size": [300, 451], "counts": self.maybe([zeros, 300 * 451 - zeros], 0.3)}
        return self.maybe({**whole, "size": self.maybe([300, 451], 0.1)}, 0.1)

    def call(self) -> None:
        kind = self.random.choice(ENDPOINTS)
        try:
            answer = getattr(self, "call_" + kind.replace("/", "_"))(kind)
        except httpx.HTTPError as e:
            self.faults.append(f"{kind}: {type(e).__name__} {e}")
            return
        self.check(kind, answer)

    def check(self, kind: str, answer: httpx.Response) -> None:
        self.counts[kind, answer.status_code] += 1
        text = answer.text if len(answer.content) < 10**6 else ""
        if found := [s for s in SECRET if s in text]:
            self.faults.append(f"{kind}: {answer.status_code} holds {found}: {text[:200]}")
        if answer.status_code >= 400 and kind.split("/")[0] not in ("address", "raw", "api"):
            sentence = json.loads(text).get("error", "")
            if len(sentence) < 15:
                self.faults.append(f"{kind}: {answer.status_code} without a sentence: {text[:200]}")
        if answer.status_code >= 500 and answer.status_code != 503:
            self.faults.append(f"{kind}: {answer.status_code} {text[:200]}")
        if '"status": 500' in text or "went wrong" in text:
            self.faults.append(f"{kind}: a failure within: {text[:200]}")

    def post(self, path: str, body: Any) -> httpx.Response:
        return self.http.post(path, content=json.dumps(body), headers={"content-type": "application/json"})

    def call_segment(self, kind: str) -> httpx.Response:
        body = {"id": self.maybe(self.id, 0.05), "prompt": self.prompt(), "preview": self.maybe(True)}
        return self.post("/sam/segment", self.maybe(body, 0.03))

    def call_everything(self, kind: str) -> httpx.Response:
        return self.post("/sam/everything", {"id": self.maybe("gone", 0.5), "preset": self.maybe("faster", 0.5)})

    def call_export(self, kind: str) -> httpx.Response:
        one = {"name": self.maybe("cat"), "rle": self.rle(), "score": self.maybe(0.5)}
        one |= {"points": self.maybe([self.xy()]), "labels": self.maybe([1]), "box": self.maybe(None)}
        objects = [self.maybe(one, 0.1) for _ in range(self.random.randint(0, 2))]
        formats = [self.random.choice(["masks", "cutouts", "coco", "sa1b", "svg", "yolo"])]
        body = {
            "id": self.maybe(self.id, 0.05),
            "objects": self.maybe(objects, 0.1),
            "formats": self.maybe(formats, 0.1),
        }
        return self.post("/sam/export", {**body, "file_name": self.maybe("../../x.jpg")})

    def call_import(self, kind: str) -> httpx.Response:
        record = {"segmentation": self.maybe(self.rle(), 0.2), "name": self.maybe("cat"), "category_id": self.maybe(1)}
        record |= {"point_coords": self.maybe([self.xy()]), "input_box": self.maybe([1, 2, 3, 4])}
        image = {"id": self.maybe(1), "width": self.maybe(451, 0.1), "height": 300}
        document = {
            "images": self.maybe([image], 0.2),
            "annotations": self.maybe([record], 0.1),
            "categories": self.value(),
        }
        whole = self.maybe(document, 0.1)
        text = json.dumps(whole) if self.random.random() < 0.5 else whole
        return self.post("/sam/import", {"id": self.maybe(self.id, 0.05), "document": text})

    def call_again(self, kind: str) -> httpx.Response:
        return self.post("/sam/again", {"id": self.maybe("gone", 0.5), "model": self.maybe("sam", 0.5)})

    def call_encode(self, kind: str) -> httpx.Response:
        r = self.random
        damaged = bytearray(self.jpeg[: r.randint(0, 3000)])
        for _ in range(r.randint(0, 20)):
            if damaged:
                damaged[r.randrange(len(damaged))] = r.randrange(256)
        return self.http.post("/sam/encode", params={"model": r.choice(["", "pocket", "x"])}, content=bytes(damaged))

    def call_photo(self, kind: str) -> httpx.Response:
        return self.http.get(f"/sam/photo/{self.random.choice(['x', 'a' * 32, '%00', '%2e%2e', '..%5c..'])}")

    def call_api(self, name: str, data: list) -> httpx.Response:
        """A named endpoint through Gradio's queue: join, then read the answer."""
        joined = self.post(f"/gradio_api/call/{name}", self.maybe({"data": data}, 0.1))
        if joined.status_code != 200 or "event_id" not in joined.text:
            return joined
        return self.http.get(f"/gradio_api/call/{name}/{joined.json()['event_id']}")

    def call_api_encode(self, kind: str) -> httpx.Response:
        file = {"path": self.random.choice(PATHS), "meta": {"_type": "gradio.FileData"}}
        return self.call_api(
            "encode", [self.maybe(self.random.choice(["/etc/passwd", "aGk=", file]), 0.4), self.maybe("")]
        )

    def call_api_segment(self, kind: str) -> httpx.Response:
        data = [self.maybe(self.id, 0.3), self.maybe([self.xy()]), self.maybe([1]), self.maybe(None)]
        return self.call_api("segment", data)

    def call_api_everything(self, kind: str) -> httpx.Response:
        return self.call_api("everything", [self.maybe("gone", 0.5), self.value()])

    def call_address(self, kind: str) -> httpx.Response:
        r = self.random
        path = r.choice(ADDRESSES).format(r.choice(PATHS))
        return self.http.request(r.choice(["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS"]), path)

    def call_raw(self, kind: str) -> httpx.Response:
        r = self.random
        path = "/sam/" + r.choice(["segment", "everything", "export", "import", "again"])
        return self.http.post(path, content=r.randbytes(r.randint(0, 400)))


def fuzz(url: str, calls: int, seed: int = 0) -> Fuzzer:
    """Call, and collect what is wrong in ``faults``."""
    fuzzer = Fuzzer(url, seed)
    for _ in range(calls):
        fuzzer.call()
    return fuzzer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with serving() as (url, _):
        done = fuzz(url, given.calls, given.seed)
    for (kind, status), count in sorted(done.counts.items()):
        print(f"{kind:16} {status} {count:6}")
    print(f"{sum(done.counts.values())} answers, {len(done.faults)} faults")
    print("\n".join(done.faults[:20]))
    raise SystemExit(bool(done.faults))


if __name__ == "__main__":
    main()

"""The second look of the page without a server against that of the package."""

import shutil

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask
from sam_hub.demo.shapes import shape_of_part

from sam_hub.inference.upsample import MaskFrame, enlarge
from sam_hub.inference.zoom import Look, combine, inside, window_around
from sam_hub.ops.tidying import tidy

from .test_alone_parts import node, text_of  # noqa: F401
from .test_service import border, filled

pytestmark = pytest.mark.skipif(not shutil.which("node"), reason="no node: apt-get install nodejs")

SIZE = (300, 400)  # height, width


def test_windows_and_the_prompts_in_them_are_the_packages(node):  # noqa: F811
    """Boxes and masks of every size and place, with clicks inside and outside; and nothing to look at."""
    rng, cases, expected = np.random.default_rng(3), [], []
    for i in range(120):
        corners = np.sort(rng.integers(0, SIZE[::-1], (2, 2)), axis=0) if i % 3 else np.array([[200, 90], [207, 99]])
        around = [*corners[0].tolist(), *(corners[1] + 1).tolist()]
        count = int(rng.integers(0, 4))
        points, labels = rng.uniform(0, 1, (count, 2)) * SIZE[::-1], rng.integers(0, 2, count)
        box, extent = (around, None) if i % 2 else (None, around if i % 10 else None)
        given = (points, labels) if count else (None, None)
        window = window_around(SIZE, None if extent is None else np.array(extent), *given, box)
        clicks = {"points": points.tolist(), "labels": labels.tolist()}
        cases.append({"call": "window", "size": SIZE, "extent": extent, "clicks": clicks, "box": box})
        expected.append((window, inside(window or (150, 50, 250, 150), *given, box)))
    found = node(*cases, *({**case, "call": "inside", "window": w or (150, 50, 250, 150)} for case, (w, _) in
                           zip(cases, expected, strict=True)))  # fmt: skip
    windows = [window and list(window) for window, _ in expected]
    assert found[:120] == windows and 20 < sum(window is None for window in windows) < 100
    for here, (_, (points, labels, box)) in zip(found[120:], expected, strict=True):
        xy = [] if points is None else points.tolist()
        kinds = [] if labels is None else labels.tolist()
        if box is not None:
            xy, kinds = [*xy, box[:2].tolist(), box[2:].tolist()], [*kinds, 2, 3]
        assert here["labels"] == kinds and np.array(here["points"]) == pytest.approx(np.array(xy), abs=1e-9)


@pytest.mark.parametrize("how", ["crop", "bicubic", "probability"])
def test_both_looks_become_the_packages_masks(node, how):  # noqa: F811
    """Best with best, whole and tidied; the first look reaches beyond the window, has nothing, or lies beside it."""
    rng, window = np.random.default_rng(8), (90, 60, 290, 190)
    size = window[3] - window[1], window[2] - window[0]

    def look(shape, bias):
        low = [cv2.GaussianBlur(rng.normal(size=(32, 32)).astype(np.float32), (0, 0), 2) * 9 + b for b in bias]
        used = tuple(round(128 * side / max(shape)) for side in shape) if how == "crop" else (128, 128)
        return Look(np.stack(low), rng.random(len(low)).astype(np.float32), MaskFrame((128, 128), used, shape, how))

    first, second = look(SIZE, (0, -2, -40)), look(size, (1, 0, 20))
    first.low_res[1, :, 8:] = -5
    ordered = [each.in_order() for each in (first, second)]
    masks = enlarge(ordered[0].low_res, first.frame)
    scores = combine(masks, *ordered, window)
    frames = [
        {"low": (32, 32), "padded": f.padded_size, "input": f.input_size, "size": f.original_size, "how": how}
        for f in (first.frame, second.frame)
    ]
    looks = [{"scores": each.scores.tolist(), "low": text_of(each.low_res)} for each in (first, second)]
    for share in (0.0, 0.05):
        case = {"call": "closer", "frames": frames, "looks": looks, "window": window, "tidying": {"share": share}}
        (found,) = node(case)
        assert [m["score"] for m in found] == pytest.approx(scores.tolist(), abs=1e-6)
        for answer, mask in zip(found, masks, strict=True):
            mask = tidy(mask, share) if share else mask
            assert (coco_mask.decode(answer["rle"]).astype(bool) != mask).sum() <= 2
            assert answer["area"] == pytest.approx(mask.sum(), abs=2) and bool(answer["path"]) == mask.any()


def test_a_small_mask_of_a_large_photo_has_a_fine_outline(node):  # noqa: F811
    """Within a pixel of the mask, and about as many corners as the server's."""
    size, window = (3000, 4000), (3000, 2000, 3200, 2160)
    shape = window[3] - window[1], window[2] - window[0]
    frames = [
        {"low": (32, 32), "padded": (128, 128), "input": used, "size": to, "how": "crop"}
        for used, to in (((96, 128), size), ((102, 128), shape))
    ]
    y, x = np.ogrid[:32, :32]
    near = (20 * (8 - np.hypot(x - 15, y - 12))).astype(np.float32)
    looks = [{"scores": [0.5], "low": text_of(low)} for low in (np.full((32, 32), -1, np.float32), near)]
    case = {"call": "closer", "frames": frames, "looks": looks, "window": window, "tidying": {"share": 0}}
    ((found,),) = node(case)
    part = coco_mask.decode(found["rle"])[2000:2160, 3000:3200].astype(bool)
    expected = shape_of_part(part, size, (3000, 2000))
    assert part.sum() > 2000
    mask = coco_mask.decode(found["rle"]).astype(bool)
    assert not (filled(found["path"], size) ^ mask)[~border(mask)].any()
    assert found["path"].count(" ") == pytest.approx(expected["path"].count(" "), rel=0.1)
    assert found["bbox"] == expected["bbox"] and found["rle"]["counts"] == expected["rle"]["counts"]

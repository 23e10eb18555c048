"""Statistics against the pixels; they depend neither on the order nor on how data are split."""

import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sam_hub.errors import DataError
from sam_hub.ops.masks import mask_to_rle
from sam_hub.statistics import collect
from sam_hub.statistics.agreement import agreement, paired
from sam_hub.statistics.collect import Collection
from sam_hub.statistics.report import build_report, concavity
from sam_hub.statistics.run import count_source
from sam_hub.statistics.sources import ImageMasks, find_sources, read_images


def blobs(seed: int, count: int, size: tuple[int, int] = (48, 64)) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]]
    found = []
    for _ in range(count):
        cy, cx, ry, rx = rng.uniform(0, size[0]), rng.uniform(0, size[1]), *rng.uniform(2, 20, 2)
        mask = ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 <= 1
        mask[:, :: rng.integers(2, 9)] = False  # concave
        found.append(mask)
    return found


def image(seed: int, count: int) -> ImageMasks:
    masks = blobs(seed, count)
    return ImageMasks(f"image{seed}", (48, 64), [mask_to_rle(m) for m in masks], [str(k) for k in range(count)])


def test_counts_are_those_of_the_pixels():
    found = Collection()
    found.add([image(seed, 7) for seed in range(5)])
    masks = [m for seed in range(5) for m in blobs(seed, 7)]
    full = [m for m in masks if m.any()]
    assert (found.images, found.masks, found.empty) == (5, len(full), len(masks) - len(full))
    relative = np.sqrt([m.mean() for m in full])
    assert found.relative_size.tolist() == np.histogram(relative, collect.SIZE_BINS, (0, 1))[0].tolist()
    centers = np.zeros((collect.MAP_SIDE, collect.MAP_SIDE), int)
    for mask in full:
        y, x = np.nonzero(mask)
        at = ((y.mean() + 0.5) / 48 * collect.MAP_SIDE, (x.mean() + 0.5) / 64 * collect.MAP_SIDE)
        centers[int(at[0]), int(at[1])] += 1
    assert found.centers.reshape(centers.shape).tolist() == centers.tolist()
    assert found.masks_per_image[7] == 5 and found.sides == {"64x0": 5}


def test_order_and_parts_do_not_matter(monkeypatch):
    monkeypatch.setattr(collect, "SAMPLE", 3)
    images = [image(seed, 9) for seed in range(12)]
    whole, parts = Collection(), Collection()
    whole.add(images)
    for k in (2, 0, 1):
        part = Collection()
        part.add(reversed(images[k::3]))
        parts.merge(Collection.from_json(json.loads(json.dumps(part.as_json()))))
    assert parts.as_json() == whole.as_json()
    assert max(map(len, whole.sample)) == 3


def test_batches_do_not_matter(monkeypatch):
    whole, small = Collection(), Collection()
    whole.add([image(seed, 9) for seed in range(6)])
    monkeypatch.setattr(collect, "BATCH", 4)
    small.add([image(seed, 9) for seed in range(6)])
    assert small.as_json() == whole.as_json()


def test_concavity_weighs_each_bin_of_size_the_same():
    """Many small squares and one large cross: half of the weight each, not one part in a hundred."""
    square, cross = np.zeros((40, 40), bool), np.zeros((40, 40), bool)
    square[2:5, 2:5] = True
    cross[19:21, :] = cross[:, 19:21] = True
    found = Collection()
    found.add(
        [ImageMasks("a", (40, 40), [mask_to_rle(square)] * 100 + [mask_to_rle(cross)], list(map(str, range(101))))]
    )
    shares = concavity(found)
    hull = 1600 - 4 * 19 * 19 / 2
    at = int((1 - cross.sum() / hull) * len(shares))
    assert shares[0] == shares[at] == 0.5
    assert build_report({"a": found}, {})["data"][0]["concavity_masks"] == 101


def test_a_damaged_mask_is_left_out_and_named():
    good = image(0, 3)
    good.masks[1] = {"size": [48, 64], "counts": "zz"}
    good.masks.append({"size": [5, 5], "counts": mask_to_rle(np.ones((5, 5), bool))["counts"]})
    good.ids.append("other size")
    found = Collection()
    found.add([good, image(1, 2)])
    assert found.masks + found.empty == 4 and found.damaged == 2
    assert all("image0" in problem for problem in found.problems)


def write_tar(path: Path, images: list[ImageMasks]) -> Path:
    with tarfile.open(path, "w") as tar:
        for one in images:
            records = [{"id": k, "segmentation": rle} for k, rle in enumerate(one.masks)]
            document = {"image": {"height": one.size[0], "width": one.size[1]}, "annotations": records}
            file = path.parent / f"{one.name}.json"
            file.write_text(json.dumps(document))
            tar.add(file, file.name)
            file.unlink()
    return path


def test_a_tar_and_folders_are_read_without_photos(tmp_path):
    images = [image(seed, 4) for seed in range(3)]
    wanted = Collection()
    wanted.add(images)
    tar = write_tar(tmp_path / "a.tar", images)
    assert count_source(tar).as_json() == wanted.as_json()

    folder = tmp_path / "results"  # as everything mode writes
    (folder / "masks").mkdir(parents=True)
    (folder / "everything.json").write_text("{}")
    (folder / "coco.json").write_text("{}")
    with tarfile.open(tar) as opened:
        opened.extractall(folder / "masks", filter="data")
    assert count_source(folder).as_json() == wanted.as_json()
    assert count_source(folder / "masks").as_json() == wanted.as_json()
    (tmp_path / "tars").mkdir()
    tar.rename(tmp_path / "tars" / "a.tar")
    assert find_sources(tmp_path / "tars") == [tmp_path / "tars" / "a.tar"]
    with pytest.raises(DataError, match="does not exist"):
        find_sources(tmp_path / "absent")
    (tmp_path / "text.tar").write_text("no tar")
    with pytest.raises(DataError, match="not a readable tar"):
        list(read_images(tmp_path / "text.tar"))


def grown(mask: np.ndarray, by: int) -> np.ndarray:
    return mask | np.roll(mask, by, 1)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_photos_of_which_the_size_is_asked_are_not_waited_for(tmp_path, not_for_ever):
    mask = blobs(0, 1)[0]
    Image.new("RGB", mask.shape[::-1]).save(tmp_path / "a.png")
    os.mkfifo(tmp_path / "b.png")
    document = {
        "images": [{"id": i, "file_name": f"{name}.png"} for i, name in enumerate("ab")],
        "annotations": [{"id": i, "image_id": i, "segmentation": mask_to_rle(mask)} for i in range(2)],
    }
    (tmp_path / "coco.json").write_text(json.dumps(document))
    good, bad = read_images(tmp_path / "coco.json")
    assert len(good.masks) == 1 and not good.problems
    assert not bad.masks and "b.png is not a regular file" in bad.problems[0]


def test_agreement_by_id_and_by_overlap(tmp_path):
    masks = [m for m in blobs(3, 12) if m.sum() > 60][:3]
    corrected = [masks[0], grown(masks[1], 1), grown(masks[2], 15)]
    ious = [(a & b).sum() / (a | b).sum() for a, b in zip(masks, corrected, strict=True)]
    before = ImageMasks("a", (48, 64), [mask_to_rle(m) for m in masks], ["1", "2", "3"])
    after = ImageMasks("a", (48, 64), [mask_to_rle(m) for m in corrected[::-1]], ["3", "2", "1"])
    assert sorted(paired(before, after)) == pytest.approx(sorted(ious))
    after.ids = ["x", "y", "z"]
    assert paired(before, after).sum() >= sum(ious) - 1e-9  # at least as good as the pairs that are known

    one = write_tar(tmp_path / "one.tar", [before])
    two = write_tar(tmp_path / "two.tar", [ImageMasks("a", (48, 64), [mask_to_rle(m) for m in corrected])])
    found = agreement([one], two)
    assert found["pairs"] == 3 and sum(found["histogram"]) == 3
    assert found["iou_above_90"] == pytest.approx(np.mean([iou > 0.9 for iou in ious]))
    assert found["iou_above_75"] == pytest.approx(np.mean([iou > 0.75 for iou in ious]))
    other = write_tar(tmp_path / "three.tar", [image(9, 2)])
    with pytest.raises(DataError, match="no image of the data"):
        agreement([one], other)
    small = ImageMasks("a", (5, 5), [mask_to_rle(np.ones((5, 5), bool))], ["1"])
    with pytest.raises(DataError, match="annotations of the same images"):
        paired(before, small)

"""Every reader of annotated images returns the masks that were written, and reports what is wrong with a file."""

import base64
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import BinaryIO

import numpy as np
import pytest
from PIL import Image

from sam_hub.data.coco import CocoDataset
from sam_hub.data.discovery import Joined, open_dataset
from sam_hub.data.folder import MaskFolder, read_mask_file
from sam_hub.data.inspection import Cleaned, inspect, split, usable_objects
from sam_hub.data.labelme import LabelmeFolder
from sam_hub.data.sa1b import Sa1bDataset
from sam_hub.data.stream import RETRIES, ShardStream, expand, read_pairs
from sam_hub.errors import DataError
from sam_hub.ops.masks import mask_to_rle, mask_to_uncompressed_rle, rle_to_mask

H, W = 40, 60
SQUARES = np.zeros((3, H, W), bool)
SQUARES[0, 2:12, 3:23] = SQUARES[1, 20:38, 5:15] = SQUARES[2, 14:30, 30:58] = True
OUTLINES = [
    [[3, 2], [23, 2], [23, 12], [3, 12]],
    [[5, 20], [15, 20], [15, 38], [5, 38]],
    [[30, 14], [58, 14], [58, 30], [30, 30]],
]


def photo(seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (H, W, 3), dtype=np.uint8))


def grey(mask: np.ndarray, value: int = 255) -> Image.Image:
    return Image.fromarray((mask * value).astype(np.uint8))


def numbers(squares: np.ndarray = SQUARES) -> np.ndarray:
    return sum(m.astype(np.uint8) * (i + 1) for i, m in enumerate(squares))


def masks_of(sample) -> np.ndarray:
    return np.array([sample.mask(i) for i in range(len(sample.annotations))])


def decoded(found: tuple[tuple[int, int], list[dict]]) -> list[np.ndarray]:
    return [rle_to_mask(a["segmentation"]) for a in found[1]]


def matched_folder(d: Path) -> None:
    for name in "ab":
        photo().save(d / "images" / f"{name}.jpg")
        Image.fromarray(numbers()).save(d / "masks" / f"{name}.png")


def several_files(d: Path) -> None:
    for name in ("a", "a_1"):  # the longer name has masks of its own
        photo().save(d / "images" / f"{name}.jpg")
        for i, mask in enumerate(SQUARES):
            grey(mask).save(d / "masks" / f"{name}_mask_{i}.png")


def folder_each(d: Path) -> None:
    photo().save(d / "images" / "a.jpg")
    (d / "masks" / "a").mkdir()
    for i, mask in enumerate(SQUARES):
        grey(mask, 1).save(d / "masks" / "a" / f"{i}.png")


def bowl(d: Path) -> None:
    for name in "ab":
        (d / name / "images").mkdir(parents=True)
        (d / name / "masks").mkdir()
        photo().save(d / name / "images" / f"{name}.png")
        for i, mask in enumerate(SQUARES):
            grey(mask).save(d / name / "masks" / f"{i}.png")
    (d / "images").rmdir()
    (d / "masks").rmdir()


def beside(d: Path) -> None:
    photo().save(d / "a.jpg")
    for i, mask in enumerate(SQUARES):
        grey(mask).save(d / f"a.mask-{i + 1}.png")


@pytest.mark.parametrize(
    ("layout", "count"), [(matched_folder, 2), (several_files, 2), (folder_each, 1), (bowl, 2), (beside, 1)]
)
def test_folders_of_images_and_masks(tmp_path: Path, layout: Callable, count: int):
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    layout(tmp_path)
    data = open_dataset(tmp_path)
    assert isinstance(data, MaskFolder) and len(data) == count and not data.unmatched
    for sample in data:
        assert sample.image.shape == (H, W, 3) and np.array_equal(masks_of(sample), SQUARES)
        assert sample.annotations[0]["bbox"] == [3, 2, 20, 10]


def painted(colours: list[tuple[int, int, int]]) -> Image.Image:
    picture = np.zeros((H, W, 3), np.uint8)
    for mask, colour in zip(SQUARES, colours, strict=True):
        picture[mask] = colour
    return Image.fromarray(picture)


def indexed() -> Image.Image:
    picture = Image.fromarray(numbers(), "P")
    picture.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0])
    return picture


@pytest.mark.parametrize(
    "picture",
    [
        Image.fromarray(numbers()),
        Image.fromarray(numbers().astype(np.uint16) * 300),
        indexed(),
        painted([(255, 0, 0), (0, 255, 0), (255, 255, 255)]),
    ],
    ids=["8 bits", "16 bits", "palette", "colours"],
)
def test_values_are_objects(tmp_path: Path, picture: Image.Image):
    picture.save(tmp_path / "m.png")
    found = decoded(read_mask_file(tmp_path / "m.png"))
    assert sorted(m.tobytes() for m in found) == sorted(m.tobytes() for m in SQUARES)


def test_two_values_are_one_object_or_its_parts(tmp_path: Path):
    grey(SQUARES.any(0)).save(tmp_path / "m.png")
    (whole,) = decoded(read_mask_file(tmp_path / "m.png"))
    assert np.array_equal(whole, SQUARES.any(0))
    parts = decoded(read_mask_file(tmp_path / "m.png", parts=True))
    assert sorted(m.tobytes() for m in parts) == sorted(m.tobytes() for m in SQUARES)


def test_soft_edges_are_no_objects(tmp_path: Path):
    soft = grey(SQUARES[2]).resize((W * 4, H * 4), Image.BILINEAR)
    soft.save(tmp_path / "m.png")
    (mask,) = decoded(read_mask_file(tmp_path / "m.png"))
    assert np.array_equal(mask, np.asarray(soft) > 127)


def coco(d: Path, annotations: list[dict], name: str = "train.json") -> Path:
    photo().save(d / "a.jpg")
    images = [{"id": 7, "file_name": "a.jpg", "width": W, "height": H}]
    (d / name).write_text(json.dumps({"images": images, "annotations": annotations, "categories": []}))
    return d / name


def test_coco_polygons_and_run_lengths(tmp_path: Path):
    shapes = [
        [np.array(OUTLINES[0]).flatten().tolist()],
        mask_to_rle(SQUARES[1]),
        mask_to_uncompressed_rle(SQUARES[2]),
        mask_to_rle(SQUARES[0]),
    ]
    path = coco(
        tmp_path, [{"id": i, "image_id": 7, "segmentation": s, "iscrowd": i == 3} for i, s in enumerate(shapes)]
    )
    for data in (open_dataset(path), open_dataset(tmp_path), CocoDataset(path, tmp_path)):
        (sample,) = data
        assert np.array_equal(masks_of(sample), SQUARES)
        assert sample.annotations[1]["bbox"] == [5, 20, 10, 18]


def test_a_broken_coco_annotation_costs_only_itself(tmp_path: Path):
    good = {"image_id": 7, "segmentation": mask_to_rle(SQUARES[0])}
    small = {"image_id": 7, "segmentation": mask_to_rle(SQUARES[0][:9])}
    path = coco(tmp_path, [{"id": 5, "image_id": 7, "bbox": [1, 2, 3, 4]}, good, small])
    (sample,) = Cleaned(open_dataset(path))
    assert np.array_equal(masks_of(sample), SQUARES[:1])
    problems = inspect(open_dataset(path)).problems
    assert "annotation 5 of a.jpg" in problems[0] and "no segmentation" in problems[0] and "1 more" in problems[1]


@pytest.mark.parametrize("text", ["{", "[]", '{"images": []}', '{"images": [{"id": 1}], "annotations": []}'])
def test_what_is_not_coco_is_refused(tmp_path: Path, text: str):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(DataError, match=r"x\.json"):
        CocoDataset(tmp_path / "x.json")


def test_coco_without_its_images_says_where_it_looked(tmp_path: Path):
    path = coco(tmp_path, [])
    (tmp_path / "a.jpg").unlink()
    with pytest.raises(DataError, match="--images"):
        CocoDataset(path)


def labelme(d: Path, shapes: list[dict], **fields: object) -> Path:
    photo().save(d / "a.png")
    document = {"version": "5.0", "shapes": shapes, "imagePath": "a.png", "imageData": None, **fields}
    (d / "a.json").write_text(json.dumps(document))
    return d


def test_labelme_shapes(tmp_path: Path):
    buffer = io.BytesIO()
    grey(SQUARES[2][14:30, 30:58]).save(buffer, "PNG")
    shapes = [
        {"shape_type": "polygon", "points": OUTLINES[0], "group_id": None},
        {"shape_type": "rectangle", "points": [[5, 20], [15, 38]]},
        {"shape_type": "point", "points": [[1, 1]]},
        {"shape_type": "mask", "points": [[30, 14], [57, 29]], "mask": base64.b64encode(buffer.getvalue()).decode()},
    ]
    (sample,) = open_dataset(labelme(tmp_path, shapes, imageHeight=H, imageWidth=W))
    assert np.array_equal(masks_of(sample), SQUARES)


def test_labelme_groups_circles_and_images_inside(tmp_path: Path):
    shapes = [{"points": o, "group_id": 4} for o in OUTLINES[:2]] + [
        {"shape_type": "circle", "points": [[30, 20], [30, 30]]}
    ]
    folder = labelme(tmp_path, shapes, imageData=base64.b64encode((photo_file(tmp_path)).read_bytes()).decode())
    (folder / "a.png").unlink()
    (sample,) = LabelmeFolder(folder)
    group, circle = masks_of(sample)
    assert np.array_equal(group, SQUARES[0] | SQUARES[1])
    assert abs(circle.sum() - np.pi * 100) < 8 and sample.image.shape == (H, W, 3)


def photo_file(folder: Path) -> Path:
    photo().save(folder / "a.png")
    return folder / "a.png"


def test_labelme_of_another_image_is_named(tmp_path: Path):
    with pytest.raises(DataError, match=r"a\.json.*not \(60, 40\)"):
        _ = LabelmeFolder(labelme(tmp_path, [], imageHeight=H + 1, imageWidth=W))[0]


def tar_of(path: Path, count: int, broken: int | None = None) -> Path:
    with tarfile.open(path, "w") as tar:
        for i in range(count):
            buffer = io.BytesIO()
            photo(i).save(buffer, "PNG")
            text = json.dumps(
                {"image": {}, "annotations": [{"segmentation": mask_to_rle(m), "bbox": [0, 0, 9, 9]} for m in SQUARES]}
            )
            picture = buffer.getvalue() if i != broken else b"broken"
            for suffix, data in ((".png", picture), (".json", text.encode())):
                info = tarfile.TarInfo(f"{path.stem}_{i}{suffix}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return path


def test_tars_one_and_many(tmp_path: Path):
    one = open_dataset(tar_of(tmp_path / "one.tar", 2))
    tar_of(tmp_path / "two.tar", 3)
    many = open_dataset(tmp_path)
    assert isinstance(one, Sa1bDataset) and isinstance(many, Joined) and len(many) == 5
    assert [s.name for s in many] == ["one_0.png", "one_1.png", "two_0.png", "two_1.png", "two_2.png"]
    with pytest.raises(IndexError):
        many[5]


def test_a_stream_goes_round_in_an_order_of_its_own(tmp_path: Path):
    tar_of(tmp_path / "s-0.tar", 6)
    tar_of(tmp_path / "s-1.tar", 6, broken=2)
    addresses = expand(f"file://{tmp_path}/s-{{0..1}}.tar")
    assert len(addresses) == 2

    def first(seed: int, count: int = 22) -> list[str]:
        stream = ShardStream(addresses, seed, buffer=3)
        names = [sample.name for sample, _ in zip(stream, range(count), strict=False)]
        assert any("s-1_2" in p for p in stream.problems)
        return names

    names = first(0)
    assert names == first(0) != first(1)
    assert len(set(names[:11])) == len(set(names[11:])) == 11 and names[:11] != names[11:]
    sample = next(iter(ShardStream(addresses)))
    assert np.array_equal(masks_of(sample), SQUARES)


@pytest.mark.parametrize("damage", ["missing", "cut", "empty"])
def test_a_stream_that_breaks_off_is_an_error(tmp_path: Path, damage: str):
    path = tar_of(tmp_path / "s.tar", 0 if damage == "empty" else 4)
    if damage == "missing":
        path.unlink()
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(DataError, match=r"s\.tar"):
        list(zip(ShardStream([str(path)], buffer=0), range(9), strict=False))


@contextmanager
def web_server(folder: Path, cuts: list[int]) -> Iterator[str]:
    """Serves a folder; each of the first answers breaks off after so many bytes."""

    class Handler(SimpleHTTPRequestHandler):
        def copyfile(self, source: BinaryIO, outputfile: BinaryIO) -> None:
            outputfile.write(source.read(cuts.pop(0) if cuts else -1))

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_stream_from_a_web_server_goes_on_where_it_broke_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sam_hub.data.stream.PAUSE", 0)
    size = tar_of(tmp_path / "s.tar", 6).stat().st_size
    whole = list(read_pairs(str(tmp_path / "s.tar")))
    cuts = [0, 700, size // 3, size // 2, size // 2, size // 2, size - 11_000]
    with web_server(tmp_path, cuts) as address:
        assert list(read_pairs(f"{address}/s.tar")) == whole and not cuts
        cuts += [700] * (RETRIES + 1)
        with pytest.raises(DataError, match=r"s\.tar"):
            list(read_pairs(f"{address}/s.tar"))
        assert not cuts
        cuts += [700]
        with pytest.raises(DataError, match="404"):
            list(read_pairs(f"{address}/nothing.tar"))
        assert cuts  # what is not there is asked for once


def test_numbers_in_braces():
    assert expand("a-{08..10}.tar") == ["a-08.tar", "a-09.tar", "a-10.tar"]
    assert expand("a.tar") == ["a.tar"] and len(expand("{0..1}/{0..2}.tar")) == 6


def test_inspection_names_what_is_wrong_and_keeps_the_rest(tmp_path: Path):
    """A broken image, an empty mask, a mask of another size, no object, nearly everything, 1,000 objects."""
    images, masks = tmp_path / "images", tmp_path / "masks"
    images.mkdir()
    masks.mkdir()
    crowd = np.zeros((H * 4, W * 4), np.uint16)
    crowd[: H * 4, : W * 4] = np.arange(1, H * W + 1, dtype=np.uint16).reshape(H, W).repeat(4, 0).repeat(4, 1)
    crowd[crowd > 1000] = 0
    everything = np.ones((H, W), np.uint8)
    everything[:3] = 2
    for name, mask in {
        "broken": numbers(), "crowd": crowd, "empty": np.zeros((H, W), np.uint8), "full": everything,
        "good": numbers(), "other": numbers()[:-1],
    }.items():  # fmt: skip
        picture = photo().resize((W * 4, H * 4)) if name == "crowd" else photo()
        picture.save(images / f"{name}.png")
        Image.fromarray(mask).save(masks / f"{name}.png")
    photo().save(images / "lonely.png")
    (images / "broken.png").write_bytes((images / "broken.png").read_bytes()[:300])
    data = open_dataset(tmp_path)
    found = inspect(data)
    assert [data.image_path(i).stem for i in found.good] == ["crowd", "full", "good"]
    assert (found.objects, found.most) == (1000 + 1 + 3, 1000)
    said = "\n".join(found.problems)
    for word in (
        "broken.png",
        "lonely.png: no mask",
        "empty.png: 1 of 1 mask is empty",
        "empty.png: it has no object",
        "full.png: 1 mask covers more than 90%",
        "other.png is 60 x 39 pixels and its image 60 x 40",
    ):
        assert word in said, word
    (good,) = (s for s in (Cleaned(data)[i] for i in found.good) if s.name == "full.png")
    assert len(good.annotations) == 1


def test_nothing_usable_is_refused(tmp_path: Path):
    beside(tmp_path)
    grey(np.zeros((H, W), bool)).save(tmp_path / "a.mask-1.png")
    for name in ("a.mask-2.png", "a.mask-3.png"):
        (tmp_path / name).unlink()
    with pytest.raises(DataError, match=r"it has no usable image .*empty"):
        inspect(open_dataset(tmp_path))
    with pytest.raises(DataError, match="no image with a mask"):
        (tmp_path / "nothing").mkdir()
        open_dataset(tmp_path / "nothing")
    with pytest.raises(DataError, match="is not a data set"):
        open_dataset(tmp_path / "nowhere")


def test_damaged_run_lengths_do_not_reach_training():
    from sam_hub.data.sa1b import Sample

    good = mask_to_rle(SQUARES[0])
    annotations = [
        {"segmentation": s} for s in (good, {**good, "counts": good["counts"][:-2]}, None, {**good, "size": [1, 2]})
    ]
    usable, problems = usable_objects(Sample("a.png", np.zeros((H, W, 3), np.uint8), annotations))
    assert usable == annotations[:1] and "damaged run lengths" in problems[0] and "2 more" in problems[1]


@pytest.mark.parametrize(("count", "share", "expected"), [(2, 0.2, 1), (10, 0.2, 2), (10, 0.99, 9), (50, 0.01, 1)])
def test_the_split_is_drawn_once_and_whole(tmp_path: Path, count: int, share: float, expected: int):
    data = open_dataset(tar_of(tmp_path / "s.tar", count))
    train, val = split(data, range(count), share, seed=3)
    assert len(val) == expected and len(train) == count - expected
    assert sorted(train.indices + val.indices) == list(range(count))
    assert split(data, range(count), share, seed=3)[1].indices == val.indices
    with pytest.raises(DataError, match="at least 2"):
        split(data, [0], share)

"""`SamImageProcessor`: the same tensors as transformers' processor, its errors fixed, and additions."""

import copy
import json

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from safetensors.numpy import load_file
from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil
from transformers.models.sam.processing_sam import SamProcessor as TheirProcessor

from sam_hub.errors import ImageError, ModelNotFoundError
from sam_hub.models.configuration_sam import PocketVisionConfig, SamConfig
from sam_hub.models.image_processing_sam import SamImageProcessor
from sam_hub.models.modeling_sam import SamModel
from sam_hub.models.processing_sam import SamProcessor
from sam_hub.ops.images import read_image
from sam_hub.zoo import ZOO

RNG = np.random.default_rng(3)
WIDE = RNG.integers(0, 256, (48, 64, 3), dtype=np.uint8)
TALL = RNG.integers(0, 256, (90, 31, 3), dtype=np.uint8)
SMALL = {"size": {"longest_edge": 64}}


@pytest.fixture(scope="module")
def ours() -> SamImageProcessor:
    return SamImageProcessor(**SMALL)


@pytest.fixture(scope="module")
def theirs() -> SamImageProcessorPil:
    return SamImageProcessorPil(
        **SMALL,
        pad_size={"height": 64, "width": 64},
        mask_size={"longest_edge": 16},
        mask_pad_size={"height": 16, "width": 16},
    )


def same(a, b) -> None:
    assert set(a) == set(b)
    for name in a:
        assert a[name].dtype == (torch.float32 if name == "pixel_values" else torch.int64)
        torch.testing.assert_close(a[name], b[name].to(a[name].dtype), rtol=0, atol=2e-6)


# ---------------------------------------------------------------- parity


IMAGES = {
    "two sizes": [WIDE, TALL],
    "PIL": [Image.fromarray(WIDE), Image.fromarray(TALL[..., 0])],
    "RGBA": [Image.fromarray(WIDE).convert("RGBA")],
    "one array": WIDE,
    "one PIL": Image.fromarray(TALL),
    "a batch of arrays": np.stack([WIDE, WIDE[::-1]]),
    "a batch of tensors": torch.from_numpy(np.stack([WIDE, WIDE[::-1]]).transpose(0, 3, 1, 2)),
    "channels first": WIDE.transpose(2, 0, 1),
    "tensors": [torch.from_numpy(WIDE.transpose(2, 0, 1)), torch.from_numpy(TALL.transpose(2, 0, 1))],
}


@pytest.mark.parametrize("images", IMAGES.values(), ids=IMAGES)
def test_same_pixels_and_sizes_as_transformers(ours, theirs, images):
    same(ours(images, return_tensors="pt"), theirs(images, return_tensors="pt"))


@pytest.mark.parametrize(
    "settings",
    [
        {"do_normalize": False},
        {"do_normalize": False, "do_rescale": False},
        {"do_rescale": False, "image_mean": [120.0, 110.0, 100.0], "image_std": [60.0, 50.0, 40.0]},
        {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4], "rescale_factor": 1 / 128},
        {"resample": Image.Resampling.BICUBIC},
        {"do_resize": False, "pad_size": {"height": 96, "width": 100}},
    ],
    ids=str,
)
def test_same_result_of_each_setting(ours, theirs, settings):
    same(ours(WIDE, return_tensors="pt", **settings), theirs(WIDE, return_tensors="pt", **settings))
    both = {**SMALL, **settings}
    same(SamImageProcessor(**both)(WIDE, return_tensors="pt"), ours(WIDE, return_tensors="pt", **settings))


def test_same_labels_of_segmentation_maps(ours, theirs):
    maps = [RNG.integers(0, 256, image.shape[:2]) for image in (WIDE, TALL)]
    a = ours([WIDE, TALL], segmentation_maps=maps, return_tensors="pt")
    same(a, theirs([WIDE, TALL], segmentation_maps=maps, return_tensors="pt"))
    assert a["labels"].shape == (2, 16, 16)
    for one in (maps[0], torch.from_numpy(maps[0]), Image.fromarray(maps[0].astype(np.uint8)), [maps[0]]):
        found = ours(WIDE, segmentation_maps=one, return_tensors="pt")["labels"]
        torch.testing.assert_close(found[0], a["labels"][0])
    thousand = ours(WIDE, segmentation_maps=maps[0] + 1000, return_tensors="pt")["labels"]  # there an error
    torch.testing.assert_close(thousand[0, :12], a["labels"][0, :12] + 1000)


def test_the_defaults_are_those_of_transformers():
    mine, reference = SamImageProcessor().to_dict(), SamImageProcessorPil().to_dict()
    assert reference.items() <= {**mine, "image_processor_type": reference["image_processor_type"]}.items()


def test_return_tensors(ours):
    for kind, expected in ((None, list), ("np", np.ndarray), ("pt", torch.Tensor)):
        found = ours([WIDE, TALL], return_tensors=kind)
        assert all(isinstance(value, expected) for value in found.values()), kind
    assert isinstance(ours(WIDE)["pixel_values"][0], np.ndarray)


# ---------------------------------------------------------------- beyond it


def test_every_source_of_read_image(ours, tmp_path):
    Image.fromarray(WIDE).save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    for source in (tmp_path / "a.png", str(tmp_path / "a.png"), data, WIDE, WIDE / 255, torch.from_numpy(WIDE / 255)):
        found = ours([source, WIDE], return_tensors="pt")["pixel_values"]
        torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_float_tensors_are_in_0_to_1(ours, dtype):
    """transformers rescales them once more, to nearly black."""
    found = ours(torch.from_numpy(WIDE.transpose(2, 0, 1) / 255).to(dtype), return_tensors="pt")
    exact = ours(WIDE, return_tensors="pt")
    torch.testing.assert_close(found["pixel_values"], exact["pixel_values"], rtol=0, atol=0.02)


def test_floats_without_rescaling_stay_as_they_are(ours):
    found = ours(WIDE / 255, do_rescale=False, do_normalize=False, return_tensors="pt")["pixel_values"]
    exact = ours(WIDE, do_normalize=False, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(found, exact)
    assert found.max() <= 1


def test_a_layout_that_the_shape_leaves_open(ours):
    """(3, 5, 3): the last axis of an array, the first of a tensor, or what is said."""
    image = RNG.integers(0, 256, (3, 5, 3), dtype=np.uint8)
    for source, layout, size in [
        (image, None, [3, 5]),
        (image, "channels_first", [5, 3]),
        (torch.from_numpy(image), None, [5, 3]),
        (torch.from_numpy(image), "channels_last", [3, 5]),
    ]:
        found = ours(source, input_data_format=layout, return_tensors="pt")
        assert found["original_sizes"].tolist() == [size]


def test_everything_follows_the_size():
    pocket = SamImageProcessor(size={"longest_edge": 512})
    found = pocket([WIDE], segmentation_maps=[WIDE[..., 0]], return_tensors="pt")
    assert found["pixel_values"].shape == (1, 3, 512, 512) and found["labels"].shape == (1, 128, 128)
    settings = dict(segmentation_maps=[WIDE[..., 0]], size={"longest_edge": 512}, return_tensors="pt")
    again = SamImageProcessor()([WIDE], **settings)
    for name in found:
        torch.testing.assert_close(found[name], again[name], rtol=0, atol=0)


def test_a_frame_of_its_own():
    """EfficientViT-SAM L0 encodes at 512 and counts coordinates to 1024."""
    processor = SamProcessor(SamImageProcessor(size={"longest_edge": 32}, frame_size={"longest_edge": 64}))
    inputs = processor(WIDE, input_points=[64, 48], input_masks=np.zeros((16, 16)), return_tensors="pt")
    assert inputs["pixel_values"].shape == (1, 3, 32, 32)
    assert inputs["reshaped_input_sizes"].tolist() == [[48, 64]]
    assert inputs["input_points"].tolist() == [[[[64, 48]]]]
    low = torch.randn(1, 1, 1, 16, 16)
    sizes = inputs["original_sizes"], inputs["reshaped_input_sizes"]
    (found,), (expected,) = (
        p.post_process_masks(low, *sizes, binarize=False) for p in (processor, SamImageProcessor(**SMALL))
    )
    torch.testing.assert_close(found, expected)


def test_stacks_of_maps_are_labels_of_objects(ours):
    stack = RNG.random((3, 48, 64)) > 0.5
    found = ours([WIDE, TALL], segmentation_maps=[stack, TALL[..., 0] > 99], return_tensors="pt")["labels"]
    assert found.shape == (2, 3, 16, 16) and found.dtype == torch.int64
    for i in range(3):
        single = ours(WIDE, segmentation_maps=stack[i], return_tensors="pt")["labels"]
        torch.testing.assert_close(found[0, i], single[0])
    assert not found[1, 1:].any() and not found[0, :, 12:].any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("arguments", ["dtype", "device and dtype", "keyword"])
def test_half_precision_casts_pixels_and_leaves_coordinates(dtype, arguments):
    """transformers casts coordinates too: 1000.3 becomes 1000.5 in float16 and 1000 in bfloat16 (issue 31060)."""
    image = np.zeros((700, 1024), np.uint8)
    box = [1.3, 2.3, 999.7, 600.1]
    inputs = SamProcessor()(image, input_points=[1000.3, 500.7], input_boxes=box, return_tensors="pt")
    before = {name: value.clone() for name, value in inputs.items()}
    cast = {
        "dtype": lambda: inputs.to(dtype),
        "device and dtype": lambda: inputs.to("cpu", dtype),
        "keyword": lambda: inputs.to(device="cpu", dtype=dtype, non_blocking=True),
    }[arguments]()
    assert cast is inputs and cast["pixel_values"].dtype == dtype
    for name in set(before) - {"pixel_values"}:
        torch.testing.assert_close(cast[name], before[name], rtol=0, atol=0)


def test_moving_a_batch_moves_everything(ours):
    moved = SamProcessor(ours)(WIDE, input_points=[1, 2], input_boxes=[1, 2, 3, 4], return_tensors="pt").to("meta")
    assert {value.device.type for value in moved.values()} == {"meta"}
    lists = SamProcessor(ours)(WIDE, input_points=[1, 2])
    assert isinstance(lists.to(torch.float16)["pixel_values"], list)


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("images", "reason"),
    [
        (None, "no image was given"),
        ([], "list of images is empty"),
        ([WIDE, None], "image 1: an image cannot be read from a NoneType"),
        ([[WIDE]], "cannot be read from a list"),
        ("https://example.org/a.jpg", "download it first"),
        (np.full((2, 5), np.nan), "NaN"),
        (torch.zeros(2, 5, 5), "must be"),
        (torch.zeros(1, 1, 1, 5, 5), "must be"),
    ],
)
def test_images_that_cannot_be(ours, images, reason):
    for call in (ours, SamProcessor(ours)):
        with pytest.raises(ImageError, match=reason) as e:
            call(images)
        assert "\n" not in str(e.value)


def test_sizes_that_cannot_be_one_tensor(ours):
    with pytest.raises(ImageError, match="need padding"):
        ours([WIDE, TALL], do_pad=False, return_tensors="pt")
    assert [v.shape for v in ours([WIDE, TALL], do_pad=False)["pixel_values"]] == [(3, 48, 64), (3, 64, 22)]


@pytest.mark.parametrize(
    ("maps", "reason"),
    [
        ([WIDE[..., 0]], "1 segmentation maps were given for 2 images"),
        ([WIDE[..., 0], WIDE[..., 0]], "must be"),
        ([WIDE[..., 0], "map.png"], "must be"),
    ],
)
def test_maps_that_do_not_fit(ours, maps, reason):
    with pytest.raises(ImageError, match=reason):
        ours([WIDE, TALL], segmentation_maps=maps)


@pytest.mark.parametrize("size", [{"shortest_edge": 64}, {"longest_edge": 0}, {}, {"longest_edge": "large"}])
def test_sizes_that_are_none(size):
    with pytest.raises(ValueError, match="size must be"):
        SamImageProcessor(size=size or {"longest": 3})


@pytest.mark.parametrize(
    ("wrong", "right"), [("do_resise", "do_resize"), ("image_std_", "image_std"), ("sizes", "size")]
)
def test_misspelled_settings_name_the_right_one(ours, wrong, right):
    for call in (lambda **k: ours(WIDE, **k), lambda **k: SamProcessor(ours)(WIDE, **k), SamImageProcessor):
        with pytest.raises(TypeError, match=f"no argument '{wrong}'; did you mean '{right}'"):
            call(**{wrong: None})
    with pytest.raises(TypeError, match="no argument 'zzzz'; it takes"):
        ours(WIDE, zzzz=1)


# ---------------------------------------------------------------- files


def test_saved_in_both_layouts_and_read_from_either(tmp_path):
    processor = SamProcessor(SamImageProcessor(size={"longest_edge": 64}, image_mean=[0.1, 0.2, 0.3], do_pad=False))
    processor.save_pretrained(tmp_path)
    written = json.loads((tmp_path / "preprocessor_config.json").read_text())
    assert written["processor_class"] == "SamProcessor" and written["image_processor_type"] == "SamImageProcessor"
    assert written["size"] == {"longest_edge": 64} and written["pad_size"] == {"height": 64, "width": 64}
    nested = json.loads((tmp_path / "processor_config.json").read_text())
    assert nested["processor_class"] == "SamProcessor" and nested["image_processor"]["size"] == {"longest_edge": 64}
    for absent in (None, "processor_config.json", "preprocessor_config.json"):
        folder = tmp_path / f"without {absent}"
        folder.mkdir()
        for name in {"processor_config.json", "preprocessor_config.json"} - {absent}:
            (folder / name).write_text((tmp_path / name).read_text())
        for source in (folder, str(folder)):
            read = SamProcessor.from_pretrained(source)
            assert read.image_processor.to_dict() == processor.image_processor.to_dict()
            assert isinstance(read.image_processor, SamImageProcessor)
    file = SamImageProcessor.from_pretrained(tmp_path / "preprocessor_config.json")
    assert file.to_dict() == processor.image_processor.to_dict()
    below = SamProcessor.from_pretrained(tmp_path.parent, subfolder=tmp_path.name)
    assert below.image_processor.to_dict() == processor.image_processor.to_dict()


def test_settings_change_while_loading(tmp_path, ours):
    ours.save_pretrained(tmp_path)
    assert SamImageProcessor.from_pretrained(tmp_path, do_normalize=False).do_normalize is False
    assert SamProcessor.from_pretrained(tmp_path, image_mean=[0, 0, 0]).image_processor.image_mean == (0, 0, 0)


HUB_FILE = {  # facebook/sam-vit-base as it is published
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_pad": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.485, 0.456, 0.406],
    "image_processor_type": "SamImageProcessor",
    "image_std": [0.229, 0.224, 0.225],
    "pad_size": {"height": 1024, "width": 1024},
    "processor_class": "SamProcessor",
    "resample": 2,
    "rescale_factor": 0.00392156862745098,
    "size": {"longest_edge": 1024},
}


def test_reads_the_published_file_and_what_transformers_saves(tmp_path, theirs):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({**HUB_FILE, "unheard_of": 1}))
    read = SamProcessor.from_pretrained(tmp_path).image_processor
    assert read.to_dict() == SamImageProcessor().to_dict()
    saved = tmp_path / "theirs"
    TheirProcessor(theirs).save_pretrained(saved)
    same(SamProcessor.from_pretrained(saved)(WIDE, return_tensors="pt"), theirs(WIDE, return_tensors="pt"))


def test_transformers_reads_ours(tmp_path, ours):
    SamProcessor(ours).save_pretrained(tmp_path)
    theirs = transformers.SamProcessor.from_pretrained(tmp_path)
    same(theirs(WIDE, return_tensors="pt"), ours(WIDE, return_tensors="pt"))
    (tmp_path / "processor_config.json").unlink()
    theirs = transformers.SamProcessor.from_pretrained(tmp_path)
    same(theirs(WIDE, return_tensors="pt"), ours(WIDE, return_tensors="pt"))


def test_a_model_folder_without_a_processor(tmp_path, tiny_vit):
    tiny_vit.save_pretrained(tmp_path)
    for damage in (None, "{not json"):
        if damage:
            (tmp_path / "preprocessor_config.json").write_text(damage)
        with pytest.raises(ModelNotFoundError, match="holds no processor") as e:
            SamProcessor.from_pretrained(tmp_path)
        assert "\n" not in str(e.value)
    with pytest.raises(ModelNotFoundError, match="holds no processor"):
        SamProcessor.from_pretrained(tmp_path / "no.json")
    with pytest.raises(ModelNotFoundError, match="no model is called"):
        SamProcessor.from_pretrained("poket-model")


def test_an_original_checkpoint_has_the_processor_of_its_shapes(tmp_path, golden_dir):
    spec = json.loads((golden_dir / "slimsam_77.json").read_text())
    file = tmp_path / "slim.pth"
    torch.save({key: torch.zeros(shape) for key, shape in spec["keys"].items()}, file)
    processor = SamProcessor.from_pretrained(file).image_processor
    assert processor.to_dict() == SamImageProcessor().to_dict()


def test_every_model_of_the_catalogue_has_a_processor():
    assert len(ZOO) > 10
    for name, variant in ZOO.items():
        config = SamConfig(**copy.deepcopy(variant.config))
        processor = SamImageProcessor.for_config(config)
        assert processor.size == {"longest_edge": variant.image_size}, name
        assert processor.frame_size == {"longest_edge": config.prompt_encoder_config.image_size}, name
        assert SamImageProcessor(**processor.to_dict()).to_dict() == processor.to_dict(), name


def test_the_pocket_encoder_has_its_own_pixels():
    pocket = SamImageProcessor.for_config(SamConfig(vision_config=PocketVisionConfig()))
    assert pocket.size == {"longest_edge": 512}
    white = pocket(np.full((9, 9), 255, np.uint8), return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(white[0, :, 0, 0], torch.ones(3))  # (255 - 127) / 128


# ---------------------------------------------------------------- masks back


def interpolate(x: torch.Tensor, size) -> torch.Tensor:
    return torch.nn.functional.interpolate(x, tuple(size), mode="bilinear", align_corners=False)


SIZES = dict(original_sizes=[(48, 64), (90, 31)], reshaped_input_sizes=[(48, 64), (64, 22)])


def test_the_originals_two_resizes(ours, theirs):
    low = torch.randn(2, 5, 3, 16, 16)
    found = ours.post_process_masks(low, **SIZES, binarize=False)
    for i, (h, w) in enumerate(SIZES["original_sizes"]):
        a, b = SIZES["reshaped_input_sizes"][i]
        expected = interpolate(interpolate(low[i], (64, 64))[..., :a, :b], (h, w))
        torch.testing.assert_close(found[i], expected, rtol=0, atol=0)
    cut = ours.post_process_masks(low, **SIZES, mask_threshold=0.3)
    reference = theirs.post_process_masks(low.clone(), **SIZES, mask_threshold=0.3)
    for mask, logits, expected in zip(cut, found, reference, strict=True):
        assert mask.dtype == torch.bool
        assert torch.equal(mask, logits > 0.3) and torch.equal(mask, expected)


def test_the_golden_masks(golden_dir):
    """The mask prompt in the golden file is a whole low-res mask, whose full-size samples are there as well."""
    gold = load_file(golden_dir / "sam_vit_b.safetensors")
    spec = json.loads((golden_dir / "sam_vit_b.json").read_text())
    low = gold["point_mask.mask_input"][None]
    index = spec["mask_input"]["index"]
    sizes = dict(original_sizes=[(427, 640)], reshaped_input_sizes=[spec["preprocessing"]["resized_size_hw"]])
    (found,) = SamImageProcessor().post_process_masks(low, **sizes, binarize=False)
    sample = gold["point.multi.masks_sample"][index]
    assert found.shape == (1, 427, 640) and isinstance(found, np.ndarray)
    assert np.abs(found[0, ::8, ::8] - sample).max() <= spec["advised_max_abs_error"]["masks"]


@pytest.mark.parametrize("kind", ["tensors", "arrays", "lists of tensors", "lists of arrays"])
def test_masks_and_sizes_of_every_kind(ours, kind):
    low = torch.randn(2, 2, 3, 16, 16)
    expected = ours.post_process_masks(low, **SIZES)
    given = {
        "tensors": (low, *(torch.tensor(v) for v in SIZES.values())),
        "arrays": (low.numpy(), *(np.array(v) for v in SIZES.values())),
        "lists of tensors": (list(low), *(list(map(list, v)) for v in SIZES.values())),
        "lists of arrays": ([m.numpy() for m in low], *(list(map(torch.tensor, v)) for v in SIZES.values())),
    }[kind]
    for mask, right in zip(ours.post_process_masks(*given), expected, strict=True):
        assert isinstance(mask, np.ndarray) == ("arrays" in kind)
        assert torch.equal(torch.as_tensor(mask), right)


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64])
def test_binary_masks_are_cut_at_a_half(ours, dtype):
    """At 0, every pixel that a 1 touches would belong to the object."""
    mask = torch.zeros(1, 1, 1, 16, 16, dtype=dtype)
    mask[..., 4:12, 4:12] = 1
    sizes = dict(original_sizes=[(64, 64)], reshaped_input_sizes=[(64, 64)])
    (found,) = ours.post_process_masks(mask, **sizes)
    expected = torch.zeros(64, 64, dtype=torch.bool)
    expected[16:48, 16:48] = True
    expected[[16, 16, 47, 47], [16, 47, 16, 47]] = False  # corners are worth less than a half
    assert torch.equal(found[0, 0], expected)
    (soft,) = ours.post_process_masks(mask, **sizes, binarize=False)
    assert soft.dtype == torch.float32 and soft.min() == 0 and soft.max() == 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_logits_of_any_type(ours, dtype):
    low = torch.randn(1, 2, 3, 16, 16).to(dtype)
    sizes = {name: value[1:] for name, value in SIZES.items()}
    (found,) = ours.post_process_masks(low, **sizes, binarize=False)
    (expected,) = ours.post_process_masks(low.float(), **sizes, binarize=False)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected)


def test_more_masks_than_are_held_at_once_and_none_at_all(ours):
    low = torch.randn(1, 7, 3, 16, 16)
    sizes = {name: value[1:] for name, value in SIZES.items()}
    (found,) = ours.post_process_masks(low, **sizes)
    for i in range(7):
        assert torch.equal(found[i : i + 1], ours.post_process_masks(low[:, i : i + 1], **sizes)[0])
    assert ours.post_process_masks(low[:, :0], **sizes)[0].shape == (0, 3, 90, 31)


def test_another_padded_size(ours, theirs):
    low = torch.randn(1, 1, 3, 16, 16)
    sizes = {name: value[:1] for name, value in SIZES.items()}
    pad = {"pad_size": {"height": 80, "width": 96}}
    (a,), (b,) = (p.post_process_masks(low.clone(), **sizes, **pad, binarize=False) for p in (ours, theirs))
    torch.testing.assert_close(a, b)


def test_numbers_of_images_that_differ(ours):
    with pytest.raises(ValueError, match="masks of 3 images, 2 original sizes and 2 resized sizes"):
        ours.post_process_masks(torch.zeros(3, 1, 1, 16, 16), **SIZES)


def test_the_input_is_not_changed(ours):
    low = [np.ones((1, 3, 16, 16), np.float32)] * 2
    ours.post_process_masks(low, **SIZES)
    assert all(isinstance(mask, np.ndarray) for mask in low)  # transformers puts tensors into the caller's list


def test_a_model_takes_what_comes_out(ours, tiny_vit):
    inputs = SamProcessor(ours)([WIDE, TALL], return_tensors="pt")
    assert isinstance(tiny_vit, SamModel)
    assert tiny_vit(**inputs).pred_masks.shape == (2, 1, 3, 16, 16)
    assert read_image(WIDE).shape == WIDE.shape

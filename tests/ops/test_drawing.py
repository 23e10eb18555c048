"""What is drawn, where, and how smoothly."""

import numpy as np
import pytest

from sam_hub.ops.drawing import GREEN, PALETTE, RED, SHADE, WHITE, draw_masks, draw_prompts, soft_mask

GREY = 90


def _canvas(height: int = 200, width: int = 300) -> np.ndarray:
    return np.full((height, width, 3), GREY, np.uint8)


def _disc(canvas: np.ndarray, x: float, y: float, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[: canvas.shape[0], : canvas.shape[1]]
    return np.hypot(columns - x, rows - y) <= radius


def test_masks_are_tinted_in_their_colours_and_nothing_else_changes() -> None:
    image = _canvas()
    masks = [_disc(image, 70, 100, 40), _disc(image, 220, 100, 40)]
    out = draw_masks(image, masks, opacity=0.5)
    assert (image == GREY).all(), "the input was drawn on"
    for mask, color, (x, y) in zip(masks, PALETTE, [(70, 100), (220, 100)], strict=False):
        assert mask[y, x]
        np.testing.assert_allclose(out[y, x], (np.array(color) + GREY) / 2, atol=1)
    assert (out[:, 145] == GREY).all() and (out[0] == GREY).all()


def test_the_edge_is_lined_and_antialiased() -> None:
    image = _canvas()
    mask = _disc(image, 150, 100, 60)
    row = draw_masks(image, [mask])[100].astype(int)
    edge = 150 + 60
    assert np.abs(row[edge] - row[150]).sum() > 60, "no line at the edge"
    assert len(np.unique(row[edge - 4 : edge + 5], axis=0)) >= 5, "the line has no soft flanks"


def test_the_line_is_as_wide_as_the_photo_is_large() -> None:
    image = _canvas(1200, 1800)
    unit = np.sqrt(1200 * 1800) / 520  # 2.8 pixels
    mask = np.repeat(np.arange(1800)[None] < 900, 1200, axis=0)
    row = draw_masks(image, [mask])[600]
    distance = np.arange(1800) + 0.5 - 900  # of pixel centres to the edge
    color, expected = np.array(PALETTE[0]), np.full((1800, 3), GREY, float)
    for paint, cover in (
        (color, 0.42 * np.clip(0.5 - distance, 0, 1)),
        (np.array(SHADE), 0.35 * np.clip(0.5 - np.abs(distance) + 1.6 * unit, 0, 1)),
        (color * 0.65 + 255 * 0.35, np.clip(0.5 - np.abs(distance) + 0.75 * unit, 0, 1)),
    ):
        expected += (paint - expected) * cover[:, None]
    np.testing.assert_allclose(row, expected, atol=2)


def test_soft_mask_is_half_at_the_outline_and_keeps_the_area() -> None:
    image = _canvas()
    mask = _disc(image, 150, 100, 60)
    soft = soft_mask(mask)
    assert soft.sum() == pytest.approx(mask.sum(), rel=0.01)
    assert soft[100, 150] == 1 and soft[0, 0] == 0
    straight = soft_mask(np.repeat(np.arange(40)[None] < 20, 40, axis=0))
    assert straight[20, 19] + straight[20, 20] == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("label, color", [(1, GREEN), (0, RED)], ids=["object", "background"])
def test_a_click_is_a_sign_on_a_disc_at_its_pixel(label: int, color: tuple) -> None:
    out = draw_prompts(_canvas(), np.array([[150, 100]]), np.array([label]))
    np.testing.assert_array_equal(out[100, 150], WHITE)
    np.testing.assert_array_equal(out[97, 147], color)
    upright = out[98, 150]
    np.testing.assert_array_equal(upright, WHITE if label else color)  # a plus has it, a minus does not
    np.testing.assert_array_equal(out[100, 148], WHITE)
    changed = np.argwhere((out != GREY).any(-1))
    np.testing.assert_allclose(changed.mean(0), [100, 150], atol=0.01)


def test_a_box_is_lined_along_its_edges_only() -> None:
    out = draw_prompts(_canvas(), np.zeros((0, 2)), np.zeros(0), np.array([[50, 40, 250, 160.0]]))
    changed = (out != GREY).any(-1)
    assert changed[100, 49:51].all() and changed[100, 249:251].all() and changed[39:41, 150].all()
    assert not changed[60:140, 70:230].any() and not changed[:30].any()


@pytest.mark.parametrize("size", [(1, 1), (3, 400), (2000, 3000)])
def test_any_size_and_prompts_at_the_border(size: tuple[int, int]) -> None:
    image = _canvas(*size)
    height, width = size
    out = draw_masks(image, [np.ones(size, bool), np.zeros(size, bool)])
    corners = np.array([[0, 0], [width - 1, height - 1]])
    out = draw_prompts(out, corners, np.array([1, 0]), np.array([[0, 0, width, height]]))
    assert out.shape == image.shape and (out != image).any()


@pytest.mark.parametrize("box", [(50.0, 40.0, 250.0, 160.0), (20.5, 30.25, 26.5, 90.0), (-20.0, -5.0, 9.0, 400.0)])
def test_no_pixel_of_a_box_is_painted_twice(box: tuple) -> None:
    """All edges in one piece, which is slow on large photos, look the same."""
    image = _canvas()
    unit = 0.8  # of 200 x 300 pixels
    x0, y0, x1, y1 = box
    x, y = np.arange(300)[None] + 0.5, np.arange(200)[:, None] + 0.5
    dx, dy = np.abs(x - (x0 + x1) / 2) - (x1 - x0) / 2, np.abs(y - (y0 + y1) / 2) - (y1 - y0) / 2
    edge = np.abs(np.where((dx > 0) & (dy > 0), np.hypot(dx, dy), np.maximum(dx, dy)))
    shade = 0.45 * np.clip(0.5 - edge + 1.6 * unit, 0, 1)[..., None]
    line = np.clip(0.5 - edge + 0.75 * unit, 0, 1)[..., None]
    expected = np.rint(GREY * (1 - shade) + np.array(SHADE) * shade)
    expected = np.rint(expected * (1 - line) + np.rint(np.array(PALETTE[0]) * 0.4 + 255 * 0.6) * line)
    drawn = draw_prompts(image, np.zeros((0, 2)), np.zeros(0), np.array([box]))
    np.testing.assert_allclose(drawn, expected, atol=1)

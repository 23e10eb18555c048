"""Draws docs/first-screen.jpg, the picture of the README: ``python docs/generate_picture.py``.

Masks of `pocket`, tidied as the shell does and otherwise unretouched; the rest of the photo is paled.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from sam_hub import SamModel, SamPredictor
from sam_hub.ops.drawing import draw_masks, draw_prompts

ROOT = Path(__file__).resolve().parents[1]
HEIGHT, GAP = 400, 12
# photo -> prompts of each object: box, points (x, y, label)
PROMPTS = {
    "astronaut": [
        ((20, 10, 365, 511), [(220, 130, 1), (200, 400, 1), (330, 330, 1)]),
        ((278, 343, 503, 511), []),
    ],
    "coffee": [((172, 17, 412, 310), [(222, 262, 1), (365, 280, 0), (290, 283, 0)])],
    "cat": [((0, 0, 440, 299), [(200, 150, 1), (120, 40, 1), (380, 40, 1), (60, 250, 1)])],
}


def panel(predictor: SamPredictor, name: str) -> np.ndarray:
    """The photo with everything but the objects paled, outlines and prompts drawn, HEIGHT pixels high."""
    image = np.asarray(Image.open(ROOT / "examples" / f"{name}.jpg").convert("RGB"))
    predictor.set_image(image)
    masks = []
    for box, points in PROMPTS[name]:
        xy, labels = np.array([p[:2] for p in points]).reshape(-1, 2), np.array([p[2] for p in points])
        clicks = {"point_coords": xy, "point_labels": labels} if points else {}
        tidy = predictor.capabilities.tidy
        masks.append(predictor.predict(box=np.array(box), multimask_output=False, tidy=tidy, **clicks)[0][0])
    grey = image.mean(2, keepdims=True)
    paled = (0.35 * (0.3 * image + 0.7 * grey) + 0.65 * 245).astype(np.uint8)
    drawn = draw_masks(np.where(np.any(masks, 0)[..., None], image, paled), masks, opacity=0.12)
    for box, points in PROMPTS[name]:
        drawn = draw_prompts(drawn, [p[:2] for p in points], [p[2] for p in points], [box])
    return np.asarray(Image.fromarray(drawn).resize((round(drawn.shape[1] * HEIGHT / drawn.shape[0]), HEIGHT)))


if __name__ == "__main__":
    predictor = SamPredictor(SamModel.from_pretrained("pocket"))
    panels = [panel(predictor, name) for name in PROMPTS]
    width = sum(p.shape[1] for p in panels) + GAP * (len(panels) - 1)
    canvas = Image.new("RGB", (width, HEIGHT), "white")
    x = 0
    for p in panels:
        canvas.paste(Image.fromarray(p), (x, 0))
        x += p.shape[1] + GAP
    canvas.save(ROOT / "docs" / "first-screen.jpg", quality=88)

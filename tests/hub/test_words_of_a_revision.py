"""SAM 3's text part is loaded from the same commit as the rest."""

from pathlib import Path

import numpy as np

from sam_hub.inference.concepts import ConceptFinder, words_of
from sam_hub.models.modeling_sam import SamModel

from ..models import tiny_sam3

PHOTO = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)


def test_words_are_of_the_commit_of_the_clicks(hub, tmp_path: Path):
    """Even if the repository has changed since."""
    folder = tmp_path / "published"
    tiny_sam3.save_video_folder(folder, tiny_sam3.reference())
    tiny_sam3.save_tokenizer(folder)
    hub.upload("alice/sam3", {path.name: path.read_bytes() for path in folder.iterdir()})
    model = SamModel.from_pretrained("alice/sam3")
    hub.upload("alice/sam3", {"config.json": b"{}", "tokenizer.json": b"{}"})  # another, in which there are no words
    finder = words_of(model)
    assert len(finder.find(PHOTO, "cat", threshold=0.0)) == 12
    assert finder.model.vision_encoder.backbone is model.vision_encoder.backbone
    commit = model.loaded_from["revision"]
    other = ConceptFinder.from_pretrained("alice/sam3", revision=commit, threshold=0.0)
    assert len(other.find(PHOTO, "cat")) == 12

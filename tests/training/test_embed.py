"""The model card of `pocket` gives the measured scores, good or bad."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from sam_hub.errors import SamHubError
from sam_hub.models.modeling_sam import SamModel
from sam_hub.training.embed import COLUMNS, embed, mean_weights, pocket_card
from sam_hub.training.trainer import EMA_FILE, HISTORY_FILE


def report(**scores: float) -> dict:
    row = {"name": "cups", "objects": 3, **dict.fromkeys(COLUMNS, 0.5), **scores}
    protocol = {"limit": 2, "max_objects": 4, "seed": 0}
    return {"protocol": protocol, "shards": [row], "mean": {name: row[name] for name in COLUMNS}}


@pytest.mark.parametrize("box, told", [(0.4, "still beats its box mask on: cups"), (0.6, "beats both")])
def test_the_card_tells_where_a_box_without_training_is_better(box: float, told: str):
    card = pocket_card(report(box=box), "three steps")
    assert told in card and "in `sam_hub/training`: three steps." in card
    assert f"| cups | 3 | 0.500 | 0.500 | 0.500 | 0.500 | {box:.3f} | 0.500 | 0.500 |" in card


def test_the_docs_give_the_scores_that_the_card_gives(root: Path):
    """The table in docs/pocket.md equals the card's."""
    tables = [
        [line.split() for line in (root / name).read_text().splitlines() if line.count("| 0.") == len(COLUMNS)]
        for name in ("docs/pocket.md", "sam_hub/assets/pocket/README.md")
    ]
    assert tables[0] == tables[1] and len(tables[0]) == 16


def test_averaged_weights_become_the_models_folder(tmp_path: Path):
    model = SamModel.from_pretrained("pocket")
    save_file(model.state_dict(), tmp_path / EMA_FILE)
    (tmp_path / HISTORY_FILE).write_text(json.dumps({"step": 1, "loss": 0.5}) + "\n")
    embed([tmp_path], tmp_path / "out", report(), "one step", [tmp_path])
    loaded = SamModel.from_pretrained(tmp_path / "out", dtype=torch.float32)
    expected = {k: v.half().float() if v.is_floating_point() else v for k, v in model.state_dict().items()}
    assert all(torch.equal(v, expected[k]) for k, v in loaded.state_dict().items())


def test_several_checkpoints_are_averaged_with_equal_weight(tmp_path: Path):
    rows = [{"w": torch.tensor([value]), "steps": torch.tensor(i)} for i, value in enumerate((1.0, 2.0, 6.0))]
    folders = [tmp_path / str(i) for i in range(3)]
    for folder, row, name in zip(folders, rows, (EMA_FILE, "model.safetensors", EMA_FILE), strict=True):
        folder.mkdir()
        save_file(row, folder / name)
    mean = mean_weights(folders)
    assert mean["w"].item() == pytest.approx(3.0) and mean["steps"].item() == 0
    save_file({"w": torch.ones(2), "steps": torch.tensor(0)}, folders[2] / EMA_FILE)
    with pytest.raises(SamHubError, match=r"2 differ in name or shape from those in .*0"):
        mean_weights(folders)

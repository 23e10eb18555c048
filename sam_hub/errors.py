"""Failures that a person can act on. The command line prints the sentence and exits with 1."""


class SamHubError(Exception):
    """A named failure: its text says what is wrong and what to do."""


class ImageError(SamHubError, ValueError):
    """An image cannot be read or used."""


class PromptError(SamHubError, ValueError):
    """A prompt has the wrong shape, label or position."""


class CheckpointError(SamHubError, ValueError):
    """Weights are unsafe, damaged or not of a known family."""


class ModelNotFoundError(SamHubError, LookupError):
    """No model of that name: neither a folder, a file, a catalogue entry nor a repository."""


class DataError(SamHubError, ValueError):
    """A data set cannot be read."""


class OutputError(SamHubError, OSError):
    """A result cannot be written."""


class TrainingError(SamHubError, ArithmeticError):
    """Training cannot start or continue: a loss or a weight is not finite, or the model lacks what was asked for."""


class DeviceError(SamHubError, RuntimeError):
    """A device is unknown or absent."""


class ExportError(SamHubError, RuntimeError):
    """A model cannot be exported, or an exported file differs from what was checked."""


class HubError(SamHubError, OSError):
    """The Hugging Face Hub refuses a request, cannot be reached, or a download failed."""


class SharedPredictorError(SamHubError, RuntimeError):
    """Several threads or tasks set images on one predictor, and one of them has lost its image."""


class WrongUsage(Exception):
    """A request that means nothing: its text says what is wrong and gives an example of what is right."""


class ImageRangeWarning(UserWarning):
    """An image's values leave its black and white points open, so a default was used."""


class ImageBandsWarning(UserWarning):
    """An image has more bands than a model looks at, so the first were taken."""


class NoMasksWarning(UserWarning):
    """Everything mode found masks, and its thresholds left none of them."""

"""Errors that a user can act on. The command line prints the message and exits with 1."""


class SamHubError(Exception):
    """A named failure: its text says what is wrong and what to do."""


class ImageError(SamHubError, ValueError):
    """An image cannot be read or used."""


class PromptError(SamHubError, ValueError):
    """A prompt has the wrong shape, label or position."""


class CheckpointError(SamHubError, ValueError):
    """Weights are unsafe, damaged or of an unknown family."""


class ModelNotFoundError(SamHubError, LookupError):
    """No folder, file, catalogue entry or repository has this name."""


class DataError(SamHubError, ValueError):
    """A data set cannot be read."""


class OutputError(SamHubError, OSError):
    """A result cannot be written."""


class TrainingError(SamHubError, ArithmeticError):
    """Training cannot start or continue: a loss or a weight is not finite, or the model lacks a requested feature."""


class DeviceError(SamHubError, RuntimeError):
    """A device is unknown or absent."""


class ExportError(SamHubError, RuntimeError):
    """A model cannot be exported, or an exported file has changed since it was checked."""


class HubError(SamHubError, OSError):
    """The Hugging Face Hub refuses a request, cannot be reached, or a download failed."""


class SharedPredictorError(SamHubError, RuntimeError):
    """Several threads or tasks set images on one predictor, so one of them has lost its image."""


class WrongUsage(Exception):
    """An invalid request: the text says what is wrong and gives a correct example."""


class ImageRangeWarning(UserWarning):
    """An image's values do not determine black and white, so a default was used."""


class ImageBandsWarning(UserWarning):
    """An image has more bands than a model reads, so the first ones were used."""


class NoMasksWarning(UserWarning):
    """Everything mode found masks, but its thresholds removed all of them."""

"""The former address of `formats.coreml.transformers_backend`, kept for those who import it."""

from .formats.coreml.transformers_backend import CoreMlConfig, CoreMlExporter, CoreMlModelRunner, register

__all__ = ["CoreMlConfig", "CoreMlExporter", "CoreMlModelRunner", "register"]

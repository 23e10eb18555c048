"""The former path of `formats.coreml.transformers_backend`, kept for existing imports."""

from .formats.coreml.transformers_backend import CoreMlConfig, CoreMlExporter, CoreMlModelRunner, register

__all__ = ["CoreMlConfig", "CoreMlExporter", "CoreMlModelRunner", "register"]

"""Locates, downloads, converts and uploads models.

This package module only needs the standard library; access to the Hugging Face Hub is in its modules.
"""

from .places import ASSETS, CHECKPOINT_SUFFIXES, Located, locate

__all__ = ["ASSETS", "CHECKPOINT_SUFFIXES", "Located", "locate"]

"""Where models come from and go to: places and names, downloads, conversions kept, uploads.

This much needs nothing but the standard library; what talks to the Hugging Face Hub is in the modules.
"""

from .places import ASSETS, CHECKPOINT_SUFFIXES, Located, locate

__all__ = ["ASSETS", "CHECKPOINT_SUFFIXES", "Located", "locate"]

"""Model families: one folder each, which declares a `Family` as ``FAMILY``.

Importing a family loads neither torch nor transformers.
"""

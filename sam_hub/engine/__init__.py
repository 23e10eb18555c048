"""The data engine (paper, section 4): people annotate with a model's help, the model learns from it and helps more.

A project is a folder: ``project.db`` (photos, masks with their history, who holds which photo) and ``rounds/``, the
models. Photos stay where they are and are only read.
"""

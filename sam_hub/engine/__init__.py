"""The data engine (paper, section 4): people annotate with a model, and the model is retrained on their masks.

A project is a folder with ``project.db`` (photos, masks with their history, photo assignments) and ``rounds/``
(the models). Photos are not moved or changed.
"""

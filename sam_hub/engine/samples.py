"""A project's annotated photos as samples for training and evaluation, as a snapshot in time."""

from collections.abc import Sequence
from pathlib import Path

from ..data.annotated import AnnotatedImages, annotation_of_rle
from ..data.sa1b import Sample
from ..errors import DataError, ImageError
from ..ops.images import read_image
from .photos import what_changed
from .store import PhotoRow, Project, rle_of


class ProjectSamples(AnnotatedImages):
    """Photos with masks accepted by people, without fully automatic masks.

    photos: their ids
    upto: ignore masks newer than this id, so that a resumed run sees the same data
    """

    def __init__(self, project: Project, photos: Sequence[int], upto: int | None = None) -> None:
        self.project, self.photos, self.upto = project, list(photos), upto
        self.path = project.folder

    def __len__(self) -> int:
        return len(self.photos)

    def photo(self, index: int) -> PhotoRow:
        return self.project.photo(self.photos[index])

    def image_path(self, index: int) -> Path:
        return Path(self.photo(index).path)

    def objects(self, index: int, size: tuple[int, int]) -> list[dict]:
        rows = self.project.objects(self.photos[index], self.upto)
        return [
            {**annotation_of_rle(rle_of(row, size)), "object": row["object"], "name": row["name"], "row": row}
            for row in rows
            if row["state"] == "accepted" and row["stage"] != "full"
        ]

    def __getitem__(self, index: int) -> Sample:
        """raises: DataError if the photo is missing or changed"""
        photo = self.photo(index)
        if why := what_changed(photo):
            raise DataError(why)
        try:
            image = read_image(photo.path)
        except ImageError as e:
            raise DataError(str(e)) from e
        if image.shape[:2] != photo.size:
            raise DataError(f"{photo.path} is {image.shape[1::-1]} pixels and not {photo.size[::-1]}; add it again")
        return Sample(Path(photo.path).name, image, self.objects(index, photo.size))

"""Photos are added as a stream, once each, and held out by their content."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image

from sam_hub.engine import photos
from sam_hub.engine.queue import Queue
from sam_hub.engine.status import problems
from sam_hub.engine.store import Project
from sam_hub.errors import ImageError
from sam_hub.ops.images import read_image

from .conftest import version, write_photos


def add(project, folder):
    return photos.add(project, photos.find([folder], project.folder))


def test_again_adds_what_is_new(project, tmp_path):
    write_photos(tmp_path / "photos", 2, first=100)
    assert add(project, tmp_path / "photos")[:2] == (2, 6)
    assert add(project, tmp_path / "photos")[:2] == (0, 8)


def test_stopped_in_the_middle_goes_on(tmp_path):
    folder = write_photos(tmp_path / "photos", 10)
    with Project.create(tmp_path / "cells", "pocket", 0.2) as project:

        def some():
            for number, path in enumerate(photos.find([folder], project.folder)):
                if number == 7:
                    raise KeyboardInterrupt
                yield path

        with pytest.raises(KeyboardInterrupt):
            photos.add(project, some(), batch=3)
        assert add(project, folder)[:2] == (4, 6)


def test_held_out_by_content(tmp_path):
    folder = write_photos(tmp_path / "photos", 40)
    with Project.create(tmp_path / "a", "pocket", 0.2) as a, Project.create(tmp_path / "b", "pocket", 0.2) as b:
        add(a, folder)
        copies = tmp_path / "copies"
        copies.mkdir()
        for number, path in enumerate(sorted(folder.iterdir(), reverse=True)):
            shutil.copy(path, copies / f"other-{number}.png")
        add(b, copies)
        held = [{row["sha256"] for row in p.rows("SELECT sha256 FROM photos WHERE held")} for p in (a, b)]
    assert held[0] == held[1] and 3 <= len(held[0]) <= 16


def test_sizes_are_upright(tmp_path):
    (tmp_path / "photos").mkdir()
    path = tmp_path / "photos" / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((20, 50, 3), np.uint8)).save(path, exif=exif)
    with Project.create(tmp_path / "cells", "pocket", 0.2) as project:
        add(project, tmp_path / "photos")
        assert project.photo(1).size == read_image(path).shape[:2] == (50, 20)


def test_what_is_no_photo_is_named(project, tmp_path):
    (tmp_path / "photos" / "bad.png").write_bytes(b"no photo")
    found = add(project, tmp_path / "photos")
    assert len(found.problems) == 1 and "bad.png is not a readable photo" in found.problems[0]
    with pytest.raises(ImageError, match="does not exist"):
        add(project, tmp_path / "nowhere")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_a_named_pipe_is_not_waited_for(project, tmp_path, not_for_ever):
    os.mkfifo(tmp_path / "photos" / "pipe.png")
    (why,) = add(project, tmp_path / "photos").problems
    assert "pipe.png is not a readable photo" in why and "not a regular file" in why


def test_a_name_that_is_not_utf8(project, tmp_path):
    path = os.fsencode(tmp_path / "photos") + b"/\xff.png"
    shutil.copy(tmp_path / "photos" / "000.png", path)
    found = add(project, tmp_path / "photos")
    assert found.new == 0 and "not UTF-8; rename it" in found.problems[0]


def test_lost_and_back(project, tmp_path):
    photo = project.photo(1)
    queue = Queue(project)
    queue.take(1, "me", "ann")
    project.save(photo, version("r"))
    queue.finish(1, "me", "ann", "done")
    os.rename(photo.path, photo.path + ".away")
    assert any("cannot be read" in p for p in problems(project))
    os.rename(photo.path + ".away", photo.path)
    assert not problems(project)

    original = (tmp_path / "photos" / "000.png").read_bytes()
    Image.new("RGB", (9, 9)).save(photo.path)
    assert "has changed" in add(project, tmp_path / "photos").problems[0]
    assert project.photo(1).state == "lost" and len(project.objects(1)) == 1
    (tmp_path / "photos" / "000.png").write_bytes(original)
    assert not add(project, tmp_path / "photos").problems
    assert project.photo(1).state == "done"

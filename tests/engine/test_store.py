"""Saving is durable and happens once; foreign or damaged files are reported."""

import re
import sqlite3
import threading

import pytest

from sam_hub.engine import schema
from sam_hub.engine.exporting import export
from sam_hub.engine.queue import NEXT, Queue
from sam_hub.engine.status import as_text, problems, status
from sam_hub.engine.store import Project, rle_of
from sam_hub.errors import DataError, OutputError
from sam_hub.ops.masks import mask_to_rle, rle_to_mask

from .conftest import SIZE, blob, version


def test_a_mask_comes_back_bit_by_bit(project):
    photo = project.photo(1)
    project.save(photo, version("r", seed=3, name="cell", prompts={"points": [[1.5, 2]]}, clicks=2, seconds=4.5))
    (row,) = project.objects(1)
    assert (rle_to_mask(rle_of(row, photo.size)) == blob(3)).all()
    assert (row["name"], row["clicks"], row["seconds"], row["annotator"]) == ("cell", 2, 4.5, "ann")


def test_the_same_request_is_stored_once(project):
    photo = project.photo(1)
    first = project.save(photo, version("r"))
    assert project.save(photo, version("r")) == first
    assert len(project.history(1, "a")) == 1


def test_undo_is_a_new_row(project):
    photo = project.photo(1)
    for number, (state, seed) in enumerate([("accepted", 0), ("accepted", 1), ("removed", 1), ("accepted", 0)]):
        project.save(photo, version(f"r{number}", state=state, seed=seed))
    assert [row["state"] for row in project.history(1, "a")] == ["accepted", "accepted", "removed", "accepted"]
    (row,) = project.objects(1)
    assert row["counts"] == mask_to_rle(blob(0))["counts"]


@pytest.mark.parametrize("statement", ["UPDATE masks SET counts = ''", "DELETE FROM masks"])
def test_rows_are_never_changed(project, statement):
    project.save(project.photo(1), version("r"))
    with pytest.raises(DataError, match="masks are never"), project.writing() as db:
        db.execute(statement)
    assert len(project.objects(1)) == 1


def test_as_it_was(project):
    photo = project.photo(1)
    project.save(photo, version("r1", "a"))
    then = project.newest_mask()
    project.save(photo, version("r2", "a", "removed"))
    project.save(photo, version("r3", "b"))
    assert [row["object"] for row in project.objects(1, then)] == ["a"]
    assert [row["object"] for row in project.objects(1)] == ["b"]


def test_a_mask_of_another_size_is_refused(project):
    wrong = mask_to_rle(blob(0)[:-1])
    with pytest.raises(DataError, match="32 x 23 pixels, not 32 x 24"):
        project.save(project.photo(1), version("r").__class__(**{**vars(version("r")), "rle": wrong}))
    assert not project.objects(1)


def test_what_a_model_proposes_is_stored_whole_once(project):
    photo = project.photo(1)
    versions = [version(f"p{i}", f"o{i}", "proposed", i, stage="semi") for i in range(3)]
    assert project.propose(photo, versions, round=1)
    assert not project.propose(photo, versions, round=1)
    project.save(photo, version("r", "o0", "accepted", 0, stage="semi"))
    assert project.propose(project.photo(1), [version("q", "n", "proposed", 5, stage="semi", round=2)], round=2)
    states = {row["object"]: row["state"] for row in project.objects(1)}
    assert states == {"o0": "accepted", "n": "proposed"}, "what nobody accepted gives way to the newer model's"
    assert not problems(project)


def test_totals_follow(project):
    photo = project.photo(1)
    project.save(photo, version("r1", "a", clicks=3, seconds=6.0))
    project.save(photo, version("r2", "a", seed=1, clicks=5, seconds=9.0))
    project.save(photo, version("p1", "b", "proposed", 2, stage="semi"))
    project.save(photo, version("r3", "b", "accepted", 2, stage="semi", seconds=1.0))
    project.save(photo, version("p2", "c", "proposed", 3, stage="semi"))
    project.save(photo, version("r4", "c", "accepted", 4, stage="semi", clicks=1))
    project.save(photo, version("r5", "d", "removed"))
    found = status(project)
    assert found["masks"] == {"accepted": 3, "proposed": 0, "removed": 1}
    (ann,) = found["annotators"]
    assert ann == {
        "annotator": "ann", "photos": 0, "masks": 3, "clicks_a_mask": 2.0, "seconds_a_mask": 3.3, "untouched": 1,
    }  # fmt: skip
    assert not problems(project)


def test_wrong_totals_and_pointers_are_found(project):
    project.save(project.photo(1), version("r1", "a"))
    project.save(project.photo(1), version("r2", "a", seed=1))
    with project.writing() as db:
        db.execute("UPDATE photo_counts SET photos = 3 WHERE held = 0")
        db.execute("UPDATE objects SET mask = 1")
    found = " ".join(problems(project))
    assert "counts of photos are wrong" in found and "do not point at their newest mask" in found


def test_threads_share_a_project(project):
    def work(name: str) -> None:
        for i in range(20):
            project.save(project.photo(1), version(f"{name}{i}", f"{name}{i}", seed=i))

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert len(project.objects(1)) == 80 and not problems(project)


def test_no_project(tmp_path):
    with pytest.raises(DataError, match="is not a project; create one with `sam-hub engine init"):
        Project.open(tmp_path)


def test_a_newer_project(project):
    project.connection.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    with pytest.raises(DataError, match=r"newer sam-hub .*; upgrade sam-hub"):
        Project.open(project.folder)


def test_a_database_of_something_else(tmp_path):
    other = sqlite3.connect(tmp_path / schema.FILE)
    other.execute("CREATE TABLE t (a)")
    other.commit()
    with pytest.raises(DataError, match="not a sam-hub project"):
        Project.open(tmp_path)


@pytest.mark.parametrize("damage", ["header", "pages"])
def test_a_damaged_file(project, damage):
    for i in range(300):
        project.save(project.photo(1), version(f"r{i}", f"o{i}", seed=i))
    project.close()
    data = bytearray(project.file.read_bytes())
    if damage == "header":
        data[:64] = b"x" * 64
    else:
        for at in range(4096 * 2, len(data), 4096):
            data[at : at + 512] = b"\xff" * 512
    project.file.write_bytes(data)
    with pytest.raises(DataError, match="is damaged"), Project.open(project.folder) as again:
        found = problems(again)
        raise DataError(f"{found[0]} is damaged" if found else "sound")


def test_a_migration_is_run_once(project, monkeypatch):
    project.save(project.photo(1), version("r"))
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, "CREATE TABLE more (a);"))
    monkeypatch.setattr(schema, "VERSION", schema.VERSION + 1)
    for _ in range(2):
        with Project.open(project.folder) as again:
            assert again.rows("PRAGMA user_version")[0][0] == schema.VERSION
            assert len(again.objects(1)) == 1 and again.rows("SELECT * FROM more") == []


def test_a_migration_that_fails_changes_nothing(project, monkeypatch):
    before = project.rows("PRAGMA user_version")[0][0]
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, "CREATE TABLE more (a); CREATE TABLE more (a);"))
    monkeypatch.setattr(schema, "VERSION", schema.VERSION + 1)
    with pytest.raises(DataError, match="cannot be used"):
        Project.open(project.folder)
    assert project.rows("PRAGMA user_version")[0][0] == before
    assert not project.rows("SELECT 1 FROM sqlite_master WHERE name = 'more'")


def test_a_full_disk_is_named_and_loses_nothing(project):
    photo = project.photo(1)
    project.save(photo, version("r"))
    pages = project.connection.execute("PRAGMA page_count").fetchone()[0]
    project.connection.execute(f"PRAGMA max_page_count = {pages}")
    saved, mask = ["r"], version("x")
    with pytest.raises(OutputError, match=r"cannot be written .*full.*; free some space"):
        for i in range(500):
            project.save(photo, mask.__class__(**{**vars(mask), "request": f"x{i}", "object": f"x{i}"}))
            saved.append(f"x{i}")
    project.connection.execute("PRAGMA max_page_count = 100000")
    assert len(project.objects(1)) == len(saved) and not problems(project)
    project.save(photo, version("after", "after"))
    assert photo.size == SIZE


def test_other_settings_are_refused(project):
    with pytest.raises(OutputError, match="model 'pocket' and not 'other'"):
        Project.create(project.folder, "other", 0.2)


def test_a_folder_with_other_things_is_refused(tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(OutputError, match="is not empty and not a project"):
        Project.create(tmp_path, "pocket", 0.2)


def test_no_question_reads_photo_by_photo(project, monkeypatch):
    """Of a project of any size: what `status` and the queue ask goes through an index."""
    asked = []
    rows = Project.rows
    monkeypatch.setattr(Project, "rows", lambda self, text, values=(): asked.append(text) or rows(self, text, values))
    status(project)
    for statement in [*asked, NEXT]:
        values = (0,) * statement.count("?")
        plan = [row["detail"] for row in rows(project, f"EXPLAIN QUERY PLAN {statement}", values)]
        assert not [step for step in plan if re.match(r"SCAN (photos|p|masks|objects)\b", step)], (statement, plan)
        if statement != NEXT:
            assert not [step for step in plan if re.search(r"photos USING INDEX", step)], (statement, plan)


ODD = {
    "settings": ("value", "["),
    "photos": ("width", "wide"),
    "photo_counts": ("state", "lost and found"),
    "masks": ("prompts", "[[1]]"),
    "rounds": ("facts", "[1]"),
}


@pytest.mark.parametrize("table", ODD)
def test_values_that_only_somebody_else_can_have_written(project, tmp_path, table):
    """SQLite lets any value into any column: each is a sentence wherever it is met."""
    project.save(project.photo(1), version("r"))
    column, value = ODD[table]
    project.connection.execute("PRAGMA ignore_check_constraints = ON")
    for (name,) in project.rows("SELECT name FROM sqlite_master WHERE type = 'trigger'"):
        project.connection.execute(f"DROP TRIGGER {name}")
    project.connection.execute(f"UPDATE OR IGNORE {table} SET {column} = ?", (value,))
    named = 0
    for use in (
        lambda: as_text(status(project)),
        lambda: Queue(project).next("me", "me"),
        lambda: export(project, "sa1b", tmp_path / "out"),
        lambda: project.setting("model"),
    ):
        try:
            use()
        except DataError as e:
            named += 1
            assert "project" in str(e) and "\n" not in str(e)
    assert named and (tmp_path / "out").exists() == (table not in ("photos", "masks"))

"""Progress, annotators, costs and model scores of a project, without reading photo by photo."""

from pathlib import Path
from typing import Any

from ..errors import DataError
from ..ops.wording import counted
from .photos import what_changed
from .schema import check
from .store import ROUND_TYPES, STATES, Project, check_types, photo_of, read_object


def status(project: Project) -> dict[str, Any]:
    """The status as JSON: ``photos`` by state, ``held`` out, ``masks`` by state, ``annotators``, ``rounds``, ``round``.

    For each annotator and each round's model: accepted masks, clicks and seconds per mask, and proposals accepted
    unchanged.
    """
    photos = dict.fromkeys(STATES, 0)
    held = 0
    for row in project.rows("SELECT state, held, CAST(photos AS INTEGER) AS photos FROM photo_counts"):
        if row["state"] not in photos or row["held"] not in (0, 1):
            raise DataError(f"{project.file} counts photos of the state {row['state']!r:.80}; {CHECK}")
        photos[row["state"]] += row["photos"]
        held += row["photos"] * row["held"]
    masks = {row["state"]: row["n"] for row in project.rows(f"SELECT state, {SUMS} FROM mask_counts GROUP BY state")}
    people = "state = 'accepted' AND stage IN ('assisted', 'semi')"
    by = "SELECT {0}, " + SUMS + " FROM mask_counts WHERE " + people + " GROUP BY {0} HAVING n > 0 ORDER BY {0}"
    finished = {
        row["annotator"]: row["n"]
        for row in project.rows(
            "SELECT annotator, count(*) AS n FROM photos WHERE annotator > '' AND +state = 'done' GROUP BY annotator"
        )
    }
    annotators = [
        {"annotator": row["annotator"], "photos": finished.get(row["annotator"], 0), **_effort(row)}
        for row in project.rows(by.format("annotator"))
    ]
    helped = {row["round"]: _effort(row) for row in project.rows(by.format("round"))}
    rows = project.rows("SELECT * FROM rounds ORDER BY round")
    for row in rows:
        check_types(row, ROUND_TYPES, "a round")
    rounds = [
        {
            "round": row["round"],
            "model": row["model"],
            "taken": bool(row["taken"]),
            "finished": row["finished"] is not None,
            **read_object(row["facts"], f"what is known of round {row['round']}"),
            "people": helped.get(row["round"]),
        }
        for row in rows
    ]
    return {
        "project": str(project.folder),
        "photos": {"all": sum(photos.values()), **photos, "held": held},
        "masks": {state: masks.get(state, 0) for state in ("accepted", "proposed", "removed")},
        "annotators": annotators,
        "rounds": rounds,
        "round": project.setting("round"),
    }


CHECK = "see what is wrong with `sam-hub engine status --check`"

SUMS = "sum(masks) AS n, sum(clicks) AS clicks, sum(seconds) AS seconds, sum(untouched) AS untouched"


def _effort(row: Any) -> dict[str, Any]:
    n = row["n"]
    return {
        "masks": n,
        "clicks_a_mask": round(row["clicks"] / n, 2),
        "seconds_a_mask": round(row["seconds"] / n, 1),
        "untouched": row["untouched"],
    }


def problems(project: Project, photos: bool = True) -> list[str]:
    """A sentence for each defect of the file and, with ``photos``, for each lost photo."""
    found = check(project.connection, project.file)
    if photos and not found:
        rows = project.rows("SELECT * FROM photos ORDER BY id")
        found += [why for row in rows if (why := what_changed(photo_of(row)))]
    found += [
        f"{model}, the model of round {row['round']}, is not there; go back with `sam-hub engine use`"
        for row in project.rows("SELECT round, model FROM rounds WHERE round > 0 AND taken")
        if not Path(model := str(project.folder / row["model"]), "config.json").is_file()
    ]
    return found


def as_text(found: dict[str, Any]) -> str:
    """The status as readable text."""
    photos, masks = found["photos"], found["masks"]
    done = photos["done"] + photos["auto"]
    lines = [
        f"{done} of {counted(photos['all'], 'photo')} done ({photos['auto']} by the model alone), "
        f"{photos['open']} to do, {photos['skipped']} skipped, {photos['lost']} lost; "
        f"{photos['held']} are held out to measure on",
        f"{counted(masks['accepted'], 'mask')} accepted, {masks['proposed']} proposed, {masks['removed']} removed",
    ]
    if found["annotators"]:
        lines += [
            "",
            f"{'annotator':20} {'photos':>7} {'masks':>7} {'clicks/mask':>12} {'s/mask':>8} {'untouched':>10}",
        ]
        lines += [
            f"{a['annotator'] or '-':20} {a['photos']:7} {a['masks']:7} {a['clicks_a_mask']:12.2f} "
            f"{a['seconds_a_mask']:8.1f} {a['untouched']:10}"
            for a in found["annotators"]
        ]
    lines += ["", f"{'round':6} {'model':24} {'learnt from':>12} {'1 click':>8} {'box':>6} {'clicks/mask':>12}"]
    for r in found["rounds"]:
        here = "*" if r["round"] == found["round"] else " "
        scores, people = r.get("after") or {}, r["people"]
        state = "" if r["finished"] else "  unfinished: rerun `sam-hub engine train`"
        state = state or ("" if r["taken"] else "  not taken: no better on the held-out photos")
        lines.append(
            f"{r['round']:>4} {here} {r['model']:24} {r.get('masks', ''):>12} {_score(scores, 'click_1'):>8} "
            f"{_score(scores, 'box'):>6} {people['clicks_a_mask'] if people else '':>12}{state}"
        )
    return "\n".join(lines)


def _score(scores: dict[str, Any], key: str) -> str:
    return "" if scores.get(key) is None else f"{scores[key]:.3f}"

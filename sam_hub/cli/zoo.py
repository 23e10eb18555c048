"""``sam-hub zoo``: the catalogue."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import Debug, Json, echo_json

if TYPE_CHECKING:
    from ..zoo import Variant


def zoo(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Show this model in full.")] = None,
    family: Annotated[
        str | None, typer.Option("--family", metavar="NAME", help="Only models of this family, such as sam2.")
    ] = None,
    licence: Annotated[
        str | None,
        typer.Option(
            "--licence",
            metavar="NAME",
            help="Only models under this licence; commercial: all that allow commercial use.",
        ),
    ] = None,
    under: Annotated[
        float | None,
        typer.Option("--under", metavar="MILLIONS", min=0, help="Only models with fewer million parameters."),
    ] = None,
    prompts: Annotated[
        str | None,
        typer.Option(
            "--prompts", metavar="KINDS", help="Only models that take these: points, background points, boxes, masks."
        ),
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """List the models in the catalogue, or show one of them."""
    from ..errors import ModelNotFoundError
    from ..zoo import ZOO, canonical_name, family_names, find_models, nearest_names

    if name is None:
        chosen = find_models(family, licence, None if under is None else under * 1e6, _split(prompts))
        if family is not None and not find_models(family):
            raise ModelNotFoundError(f"no family is called {family!r}; there are {', '.join(family_names())}")
        if not chosen:
            raise ModelNotFoundError("no model in the catalogue matches all options; omit one of them")
        rows = [_describe(key, ZOO[key]) for key in chosen]
        if as_json:
            echo_json(rows)
        else:
            typer.echo(_table(rows))
        return
    key = canonical_name(name)
    if key is None:
        near = nearest_names(name)
        hint = f"did you mean {' or '.join(near)}?" if near else "`sam-hub zoo` lists the names"
        raise ModelNotFoundError(f"no model is called {name!r}; {hint}")
    facts = _describe(key, ZOO[key])
    if as_json:
        echo_json(facts)
    else:
        typer.echo(_page(facts))


def _split(prompts: str | None) -> list[str]:
    """Split a comma-separated list of prompt kinds. raises: WrongUsage for an unknown one"""
    from ..errors import WrongUsage
    from ..families.family import PROMPT_KINDS

    kinds = [kind.strip() for kind in (prompts or "").split(",") if kind.strip()]
    if unknown := [kind for kind in kinds if kind not in PROMPT_KINDS]:
        raise WrongUsage(f"--prompts {unknown[0]!r} is not one of {', '.join(PROMPT_KINDS)}")
    return kinds


def _describe(name: str, variant: "Variant") -> dict[str, Any]:
    """The facts that matter when choosing a model."""
    from ..hub.state import weights_state

    return {
        "name": name,
        "family": variant.family,
        "good_for": variant.good_for,
        "params": variant.params,
        "image_size": variant.image_size,
        "license": variant.license,
        "commercial_use": variant.commercial_use,
        "gated": variant.gated,
        "state": weights_state(name),
        "repo": variant.repo,
        "file": variant.file,
        "url": variant.url,
        "revision": variant.revision,
        "sha256": variant.sha256,
        "published": variant.published,
    }


def _licence(facts: dict[str, Any]) -> str:
    about = {"non-commercial": not facts["commercial_use"], "gated": facts["gated"]}
    said = ", ".join(word for word, applies in about.items() if applies)
    return f"{facts['license']} ({said})" if said else facts["license"]


def _table(rows: list[dict[str, Any]]) -> str:
    lines = [("NAME", "PARAMETERS", "INPUT", "LICENCE", "WEIGHTS", "GOOD FOR")]
    lines += [
        (r["name"], f"{r['params'] / 1e6:.1f} M", f"{r['image_size']} px", _licence(r), r["state"], r["good_for"])
        for r in rows
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    align = (str.ljust, str.rjust, str.rjust, str.ljust, str.ljust, str.ljust)
    cells = ([place(text, w) for place, text, w in zip(align, line, widths, strict=True)] for line in lines)
    return "\n".join("  ".join(row).rstrip() for row in cells)


def _page(facts: dict[str, Any]) -> str:
    source = " / ".join(filter(None, (facts["repo"], facts["file"]))) if facts["repo"] else facts["url"]
    lines = {
        "good for": facts["good_for"],
        "family": facts["family"],
        "parameters": f"{facts['params']:,}",
        "input": f"{facts['image_size']} pixels, the longer side",
        "licence": _licence(facts),
        "weights": facts["state"],
        "access": f"accept its terms at https://huggingface.co/{facts['repo']}, then `hf auth login`"
        if facts["gated"]
        else "",
        "source": source,
        "revision": facts["revision"],
        "sha256": facts["sha256"],
        **facts["published"],
    }
    width = max(map(len, lines))
    return "\n".join([facts["name"], *(f"  {k:<{width}}  {v}" for k, v in lines.items() if v)])

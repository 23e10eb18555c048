"""Whether a module is unmodified: nothing hooked, wrapped, patched, quantised or compiled."""

from functools import lru_cache

import torch
from torch import nn
from torch.nn.modules import module as torch_module


@lru_cache(maxsize=512)
def methods_of(kind: type) -> frozenset[str]:
    """Method names that, if set on an instance, would override those of its class."""
    return frozenset(name for name in dir(kind) if callable(getattr(kind, name, None)))


def is_hooked(module: nn.Module) -> bool:
    """Whether a module does more than its class: hooks, a compiled call, or a method set on the instance."""
    inside = module.__dict__
    return bool(
        inside["_forward_hooks"]
        or inside["_forward_pre_hooks"]
        or inside.get("_compiled_call_impl")
        or not inside.keys().isdisjoint(methods_of(type(module)))
    )


def is_every_module_hooked() -> bool:
    """Whether global hooks, which run at every module, are registered with PyTorch."""
    return bool(torch_module._global_forward_hooks or torch_module._global_forward_pre_hooks)


def is_of(module: nn.Module, packages: set[str]) -> bool:
    """Whether a module's class belongs to these packages or is one of PyTorch's layers.

    PyTorch's quantised and parametrized layers do not count, as they compute with numbers other than their weights.
    """
    home = type(module).__module__
    return home.startswith("torch.nn.modules.") or home.partition(".")[0] in packages - {"torch"}


def is_bare(layer: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether a layer is unmodified and uses its plain ``weight``; can be traced by ``torch.compile``."""
    if type(layer) is not kind or layer._forward_hooks or layer._forward_pre_hooks:
        return False
    if torch.compiler.is_compiling():
        return "forward" not in layer.__dict__
    return type(layer.weight) is nn.Parameter and not is_hooked(layer) and not is_every_module_hooked()


def is_foldable(root: nn.Module) -> bool:
    """Whether ``root.folded()`` may replace it: it and all its submodules are unmodified."""
    if not issubclass(where_defined(type(root), "folded"), where_defined(type(root), "forward")):
        return False  # a subclass may compute something else
    packages = {"transformers", "sam_hub", type(root).__module__.partition(".")[0]}
    return not is_every_module_hooked() and all(
        is_of(module, packages)
        and not is_hooked(module)
        and all(p is None or type(p) is nn.Parameter for p in module._parameters.values())
        and all(b is None or type(b) is torch.Tensor for b in module._buffers.values())
        for module in root.modules()
    )


def where_defined(kind: type, name: str) -> type:
    """The class from which ``kind`` inherits an attribute."""
    return next(base for base in kind.__mro__ if name in vars(base))

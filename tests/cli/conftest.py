"""The model that every command upscales with."""

from pathlib import Path

import pytest
import toy


@pytest.fixture(scope="session")
def model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "toy"
    toy.pipeline(num_inference_steps=1).save_pretrained(folder)
    return folder

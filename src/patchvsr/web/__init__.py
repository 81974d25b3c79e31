"""The page of the service: plain HTML, CSS and JavaScript modules, without a build step and without others' scripts."""

from pathlib import Path

STATIC = Path(__file__).parent / "static"

"""The device, and whether the user has cancelled."""

from __future__ import annotations

import torch

interrupted = False


class InterruptProcessingException(Exception):
    pass


def throw_exception_if_processing_interrupted() -> None:
    global interrupted
    if interrupted:
        interrupted = False
        raise InterruptProcessingException


def get_torch_device() -> torch.device:
    return torch.device("cpu")


def unload_all_models() -> None:
    pass

"""Requests that no honest client sends, and what a folder holds, to see that they leave nothing behind."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

KIB, MIB = 2**10, 2**20
FOREIGN = "https://evil.example"


class Bad(NamedTuple):
    """One request. statuses: what it may be answered with. given: what else `request` of a client takes."""

    about: str
    method: str
    path: str
    statuses: tuple[int, ...]
    given: Mapping[str, Any] = MappingProxyType({})


def own_requests(folder: Path, job: str, upload: str) -> Iterator[Bad]:
    """Yield requests against a service that offers `folder` with clip.mkv, has a job of it and an unfinished upload."""
    clip = str(folder / "clip.mkv")
    yield from _paths_that_lead_out(folder, clip)
    yield from _names_of_uploads()
    yield from _sizes(upload)
    yield from _types()
    yield from _settings(clip, job)
    yield from _unknown(job)
    yield from _ranges_and_methods(job)
    yield from _from_elsewhere(clip, job)


def _paths_that_lead_out(folder: Path, clip: str) -> Iterator[Bad]:
    for path in (
        "/etc/passwd", f"{folder}/../secret.mkv", f"{folder}/link.mkv", f"{folder}/./../../etc/passwd", "secret.mkv",
        "file:///etc/passwd", "http://127.0.0.1:1/a.mkv", "concat:/etc/passwd", "\\\\host\\share\\a.mkv", "~/a.mkv",
        f"{folder}/\0.mkv", "/" + "x" * 5000, "", ".", "-i",
    ):  # fmt: skip
        for address in ("facts", "estimate", "previews", "jobs"):
            yield Bad("traversal", "POST", f"/api/{address}", (403,), {"json": {"input": path}})
        yield Bad("traversal", "GET", "/api/still", (403,), {"params": {"input": path}})
    for output, status in (
        ("/tmp/out.mkv", 403), (f"{folder}/../out.mkv", 403), (f"{folder}/none/out.mkv", 404), (clip, 409),
        (f"{folder}/out.sh", 422), (f"{folder}/%05d.mkv", 422), (f"{folder}/link.mkv", 403), ("out.mkv", 403),
    ):  # fmt: skip
        yield Bad("traversal", "POST", "/api/jobs", (status,), {"json": {"input": clip, "output": output}})
    for path in (
        "/../options.py", "/%2e%2e/__init__.py", "/..%2f..%2f__init__.py", "/%2e%2e%2f%2e%2e%2fpyproject.toml",
        "/main.js%00",
        "/api/pictures/..%2f..%2fservice.sqlite", "/api/pictures/%2e%2e", "/api/pictures/service.sqlite",
        "/api/jobs/..%2f..%2fservice.sqlite", "/api/uploads/..%2f..%2fservice.sqlite", "/api/uploads/%2e%2e",
    ):  # fmt: skip
        yield Bad("traversal", "GET", path, (404, 405))


def _names_of_uploads() -> Iterator[Bad]:
    for name in ("../a.mkv", "..\\a.mkv", "a\0.mkv", "a\n.mkv", "", "x" * 201, "/etc/passwd", "a/b.mkv", "a\u202e.mkv"):
        yield Bad("names", "POST", "/api/uploads", (422,), {"json": {"name": name, "size": 10}})


def _sizes(upload: str) -> Iterator[Bad]:
    for size, status in ((2**62, 413), (2**63, 422), (10**400, 422), (0, 422), (-1, 422), (1.5, 422), ("9", 422)):
        yield Bad("size", "POST", "/api/uploads", (status,), {"json": {"name": "a.mkv", "size": size}})
    send = f"/api/uploads/{upload}"
    for offset, content, statuses in (
        ("0", bytes(11 * MIB), (413,)), ("5", b"x", (409,)), ("-1", b"x", (409, 422)), ("9" * 30, b"x", (409, 422)),
        ("ten", b"x", (422,)), ("", b"x", (422,)), ("1e1", b"x", (422,)),
    ):  # fmt: skip
        yield Bad("size", "PATCH", send, statuses, {"content": content, "headers": {"upload-offset": offset}})
    yield Bad("size", "PATCH", send, (422,), {"content": b"x"})
    for address in ("facts", "jobs", "uploads"):
        yield Bad("size", "POST", f"/api/{address}", (413,), _json(b'{"input": "' + b"x" * 2 * MIB + b'"}'))
        yield Bad("size", "POST", f"/api/{address}", (413,), _json(_pieces(2 * MIB)))
    yield Bad("size", "GET", "/api/jobs?" + "a=b&" * 10_000, (200, 400, 414, 431))


def _types() -> Iterator[Bad]:
    for content in (
        b"", b"{", b"null", b"[]", b"1", b'"text"', b"\xff\xfe", b"[" * 100_000, b'{"input": 1}', b'{"input": {}}',
        b'{"input": []}',
        b'{"input": "a", "input": null}', b'{"\\ud800": 1}', b'{"input": "\\ud800"}', b'{"upload": "\\udfff"}',
        b'{"unknown": 1}',
        b'{"input": "a", "upload": "b"}', b"{'input': 'a'}", b'{"input": NaN}',
    ):  # fmt: skip
        for address in ("facts", "jobs"):
            yield Bad("types", "POST", f"/api/{address}", (400, 403, 404, 422), _json(content))
    yield Bad("types", "POST", "/api/facts", (422,), {"content": b"input=a", "headers": {"content-type": "text/plain"}})
    yield Bad("types", "POST", "/api/facts", (422,), {"files": {"input": ("a.mkv", b"x")}})


def _settings(clip: str, job: str) -> Iterator[Bad]:
    for settings in (
        {"scale": "2"}, {"scale": -1}, {"scale": 1e308}, {"scale": 1e-308}, {"size": "0x0"}, {"size": "99999x99999"},
        {"size": "4k\n"},
        {"crf": 1e400}, {"restoration": -0.1}, {"seed": "x"}, {"num_inference_steps": -1}, {"chunk_frames": 4},
        {"codec": "../a"},
        {"pix_fmt": "none-such"}, {"rate": "1/0"}, {"start_s": -1}, {"start_s": 1e300}, {"end_s": 0},
        {"skip_streams": [-1]}, {"skip_streams": "0"}, {"batch_size": 0}, {"model": "/etc"}, {"base": "/etc"},
        {"encoder_options": {"x264-params": "stats=/tmp/x"}}, {"overwrite": True}, {"device": "cuda"},
        {"dtype": "int8"}, None, [],
        {"noise_timestep": 1e999}, {"branch_scale": 1e999}, {"codec": "\ud800"}, {"end_s": 1e300},
    ):  # fmt: skip
        yield Bad(
            "settings", "POST", "/api/jobs", (422,), _json(json.dumps({"input": clip, "settings": settings}).encode())
        )
    for at in ("nan", "inf", "-inf", "-1", "1e400", "x"):
        yield Bad("settings", "GET", "/api/still", (422,), {"params": {"input": clip, "at": at}})
        yield Bad("settings", "GET", f"/api/jobs/{job}/still", (409, 422), {"params": {"side": "after", "at": at}})
        yield Bad(
            "settings",
            "POST",
            "/api/previews",
            (400, 422),
            _json(b'{"input": %s, "at": %s}' % (json.dumps(clip).encode(), at.encode())),
        )
    for crop in ("", "1,2,3", "0,0,0,0", "-1,0,9,9", "0,0,9999,9999", "a,b,c,d", "1" * 5000, "--help"):
        yield Bad("settings", "POST", "/api/previews", (422,), {"json": {"input": clip, "crop": crop}})
    for priority in (101, -101, 10**30, "1", 1.5, True, None):
        yield Bad("settings", "POST", "/api/jobs", (422,), {"json": {"input": clip, "priority": priority}})
    for container in ("exe", "MKV", "../mkv", 1, None):
        yield Bad("settings", "POST", "/api/jobs", (422,), {"json": {"input": clip, "container": container}})
    for move in ({"before": "none"}, {"before": 1}, {"priority": 10**30}, {"position": 1}, {"state": "done"}):
        yield Bad("settings", "PATCH", f"/api/jobs/{job}", (404, 422), {"json": move})


def _unknown(job: str) -> Iterator[Bad]:
    for id in ("none", "0" * 16, "%00", "a" * 4000, "' OR 1=1 --", "%F0%9F%8E%AC", job.upper(), f"{job}%20"):
        for method, what in (
            ("GET", ""), ("GET", "/events"), ("GET", "/output"), ("GET", "/input"), ("GET", "/report"), ("GET",
            "/thumbnail"),
            ("POST", "/pause"), ("POST", "/resume"), ("POST", "/cancel"), ("DELETE", ""),
        ):  # fmt: skip
            yield Bad("unknown", method, f"/api/jobs/{id}{what}", (404,))
        yield Bad("unknown", "GET", f"/api/uploads/{id}", (404,))
        yield Bad("unknown", "DELETE", f"/api/uploads/{id}", (404,))
        yield Bad(
            "unknown", "PATCH", f"/api/uploads/{id}", (404,), {"content": b"x", "headers": {"upload-offset": "0"}}
        )
    for number in ("x", "1.5", "9" * 30, "-" + "9" * 30):
        yield Bad("unknown", "GET", f"/api/jobs/{job}/events", (422,), {"params": {"after": number}})
        yield Bad("unknown", "GET", "/api/events", (422,), {"headers": {"last-event-id": number}})


def _ranges_and_methods(job: str) -> Iterator[Bad]:
    for range_ in ("bytes=9-1", "bytes=a-b", "bytes=", "lines=1-2", "bytes=" + "0-0," * 2000, "bytes=999999999-"):
        yield Bad("ranges", "GET", f"/api/jobs/{job}/input", (200, 206, 400, 416), {"headers": {"range": range_}})
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
        for path in ("/", "/api/jobs", "/api/service", "/api/events", "/api/none"):
            yield Bad("methods", method, path, (404, 405))


def _from_elsewhere(clip: str, job: str) -> Iterator[Bad]:
    body = {"json": {"input": clip}}
    for headers, status in (
        ({"host": "evil.example"}, 421), ({"host": "127.0.0.1.evil.example"}, 421), ({"host": "evil.example:8790"},
        421),
        ({"host": ""}, 421), ({"host": "[::1"}, 421), ({"host": "localhost.evil.example"}, 421),
        ({"host": "127.0.0.1@evil.example"}, 421),
        ({"origin": FOREIGN}, 403), ({"origin": "null"}, 403), ({"origin": "http://127.0.0.1:1"}, 403),
        ({"origin": "http://["}, 403),
        ({"origin": "http://127.0.0.1.evil.example"}, 403), ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
    ):  # fmt: skip
        yield Bad("foreign", "POST", "/api/jobs", (status,), body | {"headers": headers})
        yield Bad("foreign", "GET", "/api/jobs", (status,), {"headers": headers})
        yield Bad("foreign", "DELETE", f"/api/jobs/{job}", (status,), {"headers": headers})


def without_token(job: str) -> Iterator[Bad]:
    """Yield requests that do not know the token of a service that has one."""
    for headers in (
        {}, {"authorization": ""}, {"authorization": "Bearer"}, {"authorization": "Bearer wrong"},
        {"authorization": "Basic Og=="},
        {"authorization": "Bearer " + "x" * 4000}, {"cookie": "patchvsr=wrong"}, {"cookie": "patchvsr="},
        {"cookie": "a=b; =;"},
        {"cookie": "patchvsr=\xff"},
    ):  # fmt: skip
        for method, path in (
            ("GET", "/"),
            ("GET", "/main.js"),
            ("GET", "/api/jobs"),
            ("DELETE", f"/api/jobs/{job}"),
            ("GET", "/?token=wrong"),
        ):
            yield Bad("token", method, path, (401,), {"headers": {k: v.encode("latin-1") for k, v in headers.items()}})


def generated_requests(spec: dict[str, Any], each: int, known: Mapping[str, str], send: Callable[[Any], None]) -> None:
    """Make `each` good and `each` bad requests of every operation of an OpenAPI description, and hand them to `send`.

    Every second one is about something that exists: `known` has the clip and the ids of a job and an upload. Streams of
    events, which have no end, are left out.
    """
    import schemathesis
    from hypothesis import HealthCheck, Phase, given, settings
    from schemathesis.generation import GenerationMode

    schema = schemathesis.openapi.from_dict(spec).exclude(path_regex="/events$")
    numbers = count()
    for found in schema.get_all_operations():
        operation = found.ok()
        # Of a request that has an address only, nothing can be of a wrong type.
        can_be_wrong = operation.body or operation.query or operation.headers
        for mode in GenerationMode if can_be_wrong else [GenerationMode.POSITIVE]:

            @settings(
                max_examples=each,
                derandomize=True,
                database=None,
                deadline=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(operation.as_strategy(generation_mode=mode))
            def each_case(case: Any) -> None:
                if next(numbers) % 2:
                    _about_known(case, known)
                send(case)

            each_case()


def _about_known(case: Any, known: Mapping[str, str]) -> None:
    if case.method != "DELETE" and "id" in (case.path_parameters or {}):
        case.path_parameters["id"] = known["job" if "/jobs/" in case.path else "upload"]
    if isinstance(case.body, dict) and isinstance(case.body.get("input"), str):
        case.body["input"] = known["clip"]
        case.body.pop("upload", None)


def check_answer(case: Any, answer: Any) -> None:
    """Raise an error unless an answer is one that the description declares, and none of 5xx by a bug."""
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi import checks

    case.validate_response(
        answer,
        checks=[
            not_a_server_error,
            checks.status_code_conformance,
            checks.content_type_conformance,
            checks.response_schema_conformance,
        ],
    )


def as_request(case: Any, base_url: str) -> dict[str, Any]:
    """Return what `request` of httpx takes for a generated request."""
    given = case.as_transport_kwargs(base_url=base_url)
    found = {name: given[name] for name in ("method", "url", "headers", "params", "json", "files") if given.get(name)}
    return found | ({"content": given["data"]} if given.get("data") else {})


def tree(folder: Path, *, without: str) -> dict[str, tuple[int, int]]:
    """Return size and time of change of all files in a folder, besides those in one folder of it; folders have none.

    The empty folder that torch makes for itself, as it is imported, is left out.
    """
    found = {path: path.relative_to(folder) for path in folder.rglob("*") if "torchinductor_" not in path.name}
    return {
        str(name): (0, 0) if path.is_dir() else (path.lstat().st_size, path.lstat().st_mtime_ns)
        for path, name in found.items()
        if name.parts[0] != without
    }


def _json(content: Any) -> dict[str, Any]:
    return {"content": content, "headers": {"content-type": "application/json"}}


def _pieces(size: int) -> Iterator[bytes]:
    """Yield a body whose length is not announced."""
    yield b'{"input": "'
    for _ in range(size // (64 * KIB)):
        yield b"x" * 64 * KIB
    yield b'"}'

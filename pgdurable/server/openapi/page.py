"""The document as a page for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]

HEAD = "<!-- `python -m pgdurable.server.openapi > docs/http-api.md` makes this page. -->"


def render(document: Json) -> str:
    """Markdown: the operations in the document's order, then the objects they speak of."""
    lines = [HEAD, "", "# The HTTP API", "", document["info"]["description"]]
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if isinstance(operation, dict):
                shared = item.get("parameters", [])
                lines += _operation(method, path, operation, shared, document)
    lines += ["", "## Headers of answers", "", *_headers(document["components"]["headers"])]
    lines += ["", "## Objects"]
    for name, schema in document["components"]["schemas"].items():
        lines += ["", f"### {name}", "", *_object(schema)]
    return "\n".join(lines) + "\n"


def _operation(
    method: str, path: str, operation: Json, shared: list[Json], document: Json
) -> Iterator[str]:
    yield from (
        "",
        f"## {method.upper()} {path}",
        "",
        f"{operation['summary']}.".replace("?.", "?"),
    )
    if description := operation.get("description"):
        yield from ("", description)
    if parameters := [*shared, *operation.get("parameters", [])]:
        yield from ("", "| Parameter | In | Values | Meaning |", "|---|---|---|---|")
        for parameter in parameters:
            where, schema = parameter["in"], parameter["schema"]
            yield _row(f"`{parameter['name']}`", where, _type(schema), parameter["description"])
    if body := operation.get("requestBody"):
        yield from ("", f"The body is a {_type(body['content']['application/json']['schema'])}.")
    yield from ("", "| Status | Body | Meaning |", "|---|---|---|")
    for status, answer in operation["responses"].items():
        yield _row(status, _bodies(answer["content"]), answer["description"])


def _bodies(content: Json) -> str:
    return " or ".join(
        ("a stream of " if media_type == "text/event-stream" else "") + _type(media["schema"])
        for media_type, media in content.items()
    )


def _headers(headers: Json) -> Iterator[str]:
    yield from ("| Header | Meaning |", "|---|---|")
    for name, header in headers.items():
        yield _row(f"`{name}`", header["description"])


def _object(schema: Json) -> Iterator[str]:
    yield from (schema["description"], "", "| Field | Value | Meaning |", "|---|---|---|")
    yield from _fields(schema, "")


def _fields(schema: Json, prefix: str) -> Iterator[str]:
    for name, field in schema["properties"].items():
        always = name in schema["required"]
        kind = _type(field) + ("" if always else ", or absent")
        yield _row(f"`{prefix}{name}`", kind, field.get("description", ""))
        for inner, mark in ((field, "."), (field.get("items", {}), "[].")):
            if "properties" in inner:
                yield from _fields(inner, f"{prefix}{name}{mark}")


def _type(schema: Json) -> str:
    """What a value may be, in a few words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_type(choice) for choice in schema["anyOf"])
    if "const" in schema:
        return f"`{schema['const']}`".replace("`True`", "`true`")
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "array" and "items" in schema:
        return f"list of {_type(schema['items'])}"
    kinds = schema.get("type", "anything")
    text = " or ".join([kinds] if isinstance(kinds, str) else kinds)
    if "maximum" in schema:
        text += f" from {schema['minimum']} to {schema['maximum']}"
    return text


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"

"""The OpenAPI 3.1 description of the HTTP face, built from one table of operations.

A test walks the application's routes and this table against each other, and
another validates the document.
"""

from __future__ import annotations

from typing import Any

from holdfast.web.problems import PROBLEMS

__all__ = ["describe"]

_JSON = "application/json"


def describe(*, version: str, root_path: str, max_bytes: int) -> dict[str, Any]:
    """The document, as Python objects."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Holdfast",
            "version": version,
            "summary": "Typed values with expiry, versions and counters.",
            "description": "Docs: docs/reference/http.md. Every error is application/problem+json.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": root_path or "/"}],
        "security": [{"token": []}],
        "paths": _paths(max_bytes),
        "components": {
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "Printed at the first start."}
            },
            "parameters": _PARAMETERS,
            "headers": _HEADERS,
            "schemas": _SCHEMAS,
        },
    }


def _paths(max_bytes: int) -> dict[str, Any]:
    key = [{"$ref": "#/components/parameters/key"}]
    value = {"description": f"Any JSON value of at most {max_bytes} bytes."}
    return {
        "/persist": {"get": _LIST},
        "/persist/{key}": {
            "parameters": key,
            "get": _GET,
            "head": {**_GET, "operationId": "headValue", "summary": "The headers of GET"},
            "put": {
                "operationId": "putValue",
                "summary": "Store a value",
                "parameters": [_ref("expires"), _ref("ifMatch"), _ref("ifNoneMatchAny")],
                "requestBody": {"required": True, "content": {_JSON: {"schema": value}}},
                "responses": {
                    "201": {"description": "Created, with If-None-Match: *.", "headers": _FACTS},
                    "204": {"description": "Stored.", "headers": _FACTS},
                    **_problems(400, 401, 412, 413, 415, 421, 503),
                },
            },
            "delete": {
                "operationId": "deleteValue",
                "summary": "Remove a value",
                "parameters": [_ref("ifMatch")],
                "responses": {
                    "204": {"description": "Removed."},
                    **_problems(400, 401, 404, 412, 421, 503),
                },
            },
        },
        "/persist/{key}/increment": {"parameters": key, "post": _INCREMENT},
        "/health": {"get": _HEALTH},
        "/metrics": {"get": _METRICS},
        "/openapi.json": {"get": _DOCUMENT},
    }


def _ref(parameter: str) -> dict[str, str]:
    return {"$ref": f"#/components/parameters/{parameter}"}


def _problems(*statuses: int) -> dict[str, Any]:
    """One response per status, with the titles of the problems that have it."""
    found = {}
    for status in statuses:
        titles = [f"{title} (`{name}`)." for name, (of, title) in PROBLEMS.items() if of == status]
        content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
        found[str(status)] = {"description": " ".join(titles), "content": content}
    return found


_FACTS = {
    "ETag": {"$ref": "#/components/headers/ETag"},
    "Expires-In": {"$ref": "#/components/headers/ExpiresIn"},
}

_LIST = {
    "operationId": "listKeys",
    "summary": "Some of the live keys",
    "parameters": [_ref("prefix"), _ref("cursor"), _ref("limit")],
    "responses": {
        "200": {
            "description": "A page; it may be empty and yet have a cursor.",
            "content": {_JSON: {"schema": {"$ref": "#/components/schemas/Page"}}},
        },
        **_problems(400, 401, 421, 503),
    },
}

_GET = {
    "operationId": "getValue",
    "summary": "The live value",
    "parameters": [_ref("ifMatch"), _ref("ifNoneMatch")],
    "responses": {
        "200": {
            "description": "The value as it was stored, without white space.",
            "headers": _FACTS,
            "content": {_JSON: {"schema": {}}},
        },
        "304": {"description": "It is still the version named by If-None-Match.", "headers": _FACTS},
        **_problems(400, 401, 404, 409, 412, 421, 503),
    },
}

_INCREMENT = {
    "operationId": "incrementValue",
    "summary": "Add to a 64-bit counter",
    "description": "A live counter keeps its expiry; one that starts here gets `expires`.",
    "requestBody": {
        "required": False,
        "content": {_JSON: {"schema": {"$ref": "#/components/schemas/Step"}}},
    },
    "responses": {
        "200": {
            "description": "The new value.",
            "content": {_JSON: {"schema": {"$ref": "#/components/schemas/Counter"}}},
        },
        **_problems(400, 401, 409, 413, 415, 421, 422, 503),
    },
}

_HEALTH = {
    "operationId": "health",
    "summary": "Up or down",
    "security": [],
    "responses": {
        "200": {
            "description": "The store answers.",
            "content": {_JSON: {"schema": {"$ref": "#/components/schemas/Health"}}},
        },
        "503": {
            "description": "The store does not answer.",
            "content": {_JSON: {"schema": {"$ref": "#/components/schemas/Health"}}},
        },
        **_problems(421),
    },
}

_METRICS = {
    "operationId": "metrics",
    "summary": "Figures in Prometheus' text format",
    "responses": {
        "200": {
            "description": "Of the worker process that answers.",
            "content": {"text/plain": {"schema": {"type": "string"}}},
        },
        **_problems(401, 421),
    },
}

_DOCUMENT = {
    "operationId": "description",
    "summary": "This document",
    "responses": {
        "200": {"description": "OpenAPI 3.1.", "content": {_JSON: {"schema": {"type": "object"}}}},
        **_problems(401, 421),
    },
}

_PARAMETERS: dict[str, Any] = {
    "key": {
        "name": "key",
        "in": "path",
        "required": True,
        "description": "1 to 512 bytes of UTF-8 without NUL, percent-encoded; slashes may stand as they are.",
        "schema": {"type": "string", "minLength": 1},
    },
    "expires": {
        "name": "expires",
        "in": "query",
        "description": "Seconds from now, or `none`: never. Absent: a live value keeps what is left.",
        "schema": {"oneOf": [{"type": "number", "exclusiveMinimum": 0}, {"const": "none"}]},
    },
    "prefix": {"name": "prefix", "in": "query", "schema": {"type": "string", "default": ""}},
    "cursor": {
        "name": "cursor",
        "in": "query",
        "description": "What the last page answered.",
        "schema": {"type": "string"},
    },
    "limit": {
        "name": "limit",
        "in": "query",
        "description": "A wish: a page may hold more or fewer.",
        "schema": {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100},
    },
    "ifMatch": {
        "name": "If-Match",
        "in": "header",
        "description": "Only if the live value is one of these versions, or `*`: if there is one.",
        "schema": {"type": "string", "examples": ['"6f1c2a"', "*"]},
    },
    "ifNoneMatch": {
        "name": "If-None-Match",
        "in": "header",
        "description": "304 if the live value is one of these versions.",
        "schema": {"type": "string"},
    },
    "ifNoneMatchAny": {
        "name": "If-None-Match",
        "in": "header",
        "description": "`*`: only if there is no live value (create).",
        "schema": {"const": "*"},
    },
}

_HEADERS: dict[str, Any] = {
    "ETag": {
        "description": "The version. After a PUT without If-Match it is there unless another write came between.",
        "schema": {"type": "string"},
    },
    "ExpiresIn": {
        "description": "Seconds left, or `none`: never.",
        "schema": {"type": "string", "examples": ["12.345", "none"]},
    },
}

_SCHEMAS: dict[str, Any] = {
    "Page": {
        "type": "object",
        "required": ["keys", "cursor"],
        "properties": {
            "keys": {"type": "array", "items": {"type": "string"}},
            "cursor": {"type": ["string", "null"], "description": "null: this was the last page."},
        },
    },
    "Step": {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "by": {"type": "integer", "default": 1},
            "expires": {"type": ["number", "null"], "exclusiveMinimum": 0},
        },
    },
    "Counter": {
        "type": "object",
        "required": ["value"],
        "properties": {"value": {"type": "integer", "format": "int64"}},
    },
    "Health": {
        "type": "object",
        "required": ["status", "store"],
        "properties": {"status": {"enum": ["up", "down"]}, "store": {"enum": ["up", "down"]}},
    },
    "Problem": {
        "type": "object",
        "required": ["type", "title", "status"],
        "properties": {
            "type": {"type": "string", "examples": ["urn:holdfast:problem:no-value"]},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "maybe_applied": {
                "type": "boolean",
                "description": "On a 503: whether the store may have done it before the connection was lost.",
            },
            "max_bytes": {"type": "integer", "description": "On a 413: the limit."},
        },
    },
}

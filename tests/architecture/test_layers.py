"""Who may import whom: DESIGN's table, held against every import statement of `src`.

A change here is a change of the design: it goes in one commit with its reason
in `docs/design.md`.
"""

import ast
import re
from pathlib import Path

import pytest

SRC = Path(__file__).parents[2] / "src"
MODULES = {
    ".".join(path.relative_to(SRC).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((SRC / "holdfast").rglob("*.py"))
}

WORDS = r"holdfast(\.errors|\.store|\.events)"
"""What everybody may speak: errors, events, and the words about stores."""
PURE = r"__future__|abc|bisect|collections(\..*)?|contextlib|contextvars|copy|dataclasses|datetime"
PURE += r"|decimal|difflib|enum|functools|hashlib"
PURE += r"|importlib(\..*)?|itertools|json|math|operator|random|re|secrets|string|sys|time|types|typing|urllib\.parse"
CONTRACT = r"holdfast\.persist\.(driver|migrations|waves|announcing)"
TALK = r"holdfast\.channels\.(driver|migrations)"
SHELF = r"holdfast\.webmention\.(driver|migrations|mentions|storage|pages)"
RULES_OF_MENTIONS = (
    r"urls|charsets|tokens|markup|link_header|discovery|links|verification|microformats|properties"
)
RULES_OF_MENTIONS += r"|authorship|excerpts|parsing|sanitising|rendering|formats|policy"
MARKDOWN = r"markdown_it(\..*)?"

# The first row whose pattern matches a module's name says what it may import.
RULES: list[tuple[str, str]] = [
    (r"holdfast\.errors", rf"{PURE}"),
    (r"holdfast\.store", rf"{PURE}|msgspec|holdfast\.errors"),
    (r"holdfast\.events", rf"{PURE}|logging|msgspec"),
    (r"holdfast", r"__future__|typing|holdfast\.hold"),
    (r"holdfast\.coalesce(\..*)?", rf"{PURE}|asyncio|{WORDS}|holdfast\.coalesce.*|holdfast"),
    (r"holdfast\.engines(\.notes)?", rf"{PURE}|asyncio|{WORDS}"),
    (
        r"holdfast\.engines\.(\w+)(\..*)?",
        rf"{PURE}|.+|!holdfast|{WORDS}|holdfast|holdfast\.engines\.\1(\..*)?",
    ),
    (
        r"holdfast\.persist\.(codec|keys|driver|migrations|waves|announcing)",
        rf"{PURE}|msgspec|{CONTRACT}|holdfast\.(errors|store)",
    ),
    (r"holdfast\.persist\.registry", rf"{PURE}|msgspec|{CONTRACT}|holdfast\.(errors|registering|store)"),
    (
        r"holdfast\.persist\.drivers\.([a-z]+)(_.*|\..*)?",
        rf"{PURE}|.+|!holdfast|!asyncio\b|{WORDS}|holdfast|{CONTRACT}|holdfast\.engines(\.notes|\.\1(\..*)?)?"
        r"|holdfast\.persist\.drivers\.\1(_.*|\..*)?|asyncio",
    ),
    (
        r"holdfast\.persist(\..*)?",
        rf"{PURE}|asyncio|inspect|msgspec|os|{WORDS}|holdfast|holdfast\.coalesce|holdfast\.persist(?!\.drivers)(\..*)?",
    ),
    (
        r"holdfast\.channels\.(protocol|recovery|frames|driver|migrations)",
        rf"{PURE}|base64|binascii|msgspec|{TALK}|holdfast\.channels\.(protocol|recovery|frames)|holdfast\.(errors|store)",
    ),
    (r"holdfast\.channels\.registry", rf"{PURE}|msgspec|{TALK}|holdfast\.(errors|registering|store)"),
    (
        r"holdfast\.channels\.drivers\.([a-z]+)(_.*|\..*)?",
        rf"{PURE}|.+|!holdfast|{WORDS}|holdfast|{TALK}|holdfast\.engines(\.notes|\.\1(\..*)?)?"
        r"|holdfast\.channels\.drivers\.\1(_.*|\..*)?",
    ),
    (
        r"holdfast\.channels\.transports(\..*)?",
        rf"{PURE}|.+|!holdfast|{WORDS}|holdfast|holdfast\.channels(?!\.drivers)(\..*)?",
    ),
    (
        r"holdfast\.channels(\..*)?",
        rf"{PURE}|asyncio|base64|hmac|inspect|msgspec|{WORDS}|holdfast|holdfast\.coalesce"
        r"|holdfast\.channels(?!\.drivers)(\..*)?",
    ),
    (
        rf"holdfast\.webmention\.(driver|migrations|mentions|storage|pages|{RULES_OF_MENTIONS})",
        rf"{PURE}|base64|binascii|html(\..*)?|ipaddress|msgspec|nh3|unicodedata|{MARKDOWN}|{SHELF}"
        rf"|holdfast\.webmention\.({RULES_OF_MENTIONS})|holdfast\.(errors|store)",
    ),
    (
        r"holdfast\.webmention\.registry",
        rf"{PURE}|msgspec|{SHELF}|holdfast\.(errors|registering|store)",
    ),
    (
        r"holdfast\.webmention\.drivers\.([a-z]+)(_.*|\..*)?",
        rf"{PURE}|.+|!holdfast|{WORDS}|holdfast|{SHELF}|holdfast\.engines(\.notes|\.\1(\..*)?)?"
        r"|holdfast\.webmention\.drivers\.\1(_.*|\..*)?",
    ),
    (
        r"holdfast\.webmention\.(fetch|client|photos)(_.*)?",
        rf"{PURE}|.+|!holdfast|{WORDS}|holdfast|holdfast\.webmention(?!\.drivers)(\..*)?",
    ),
    (
        r"holdfast\.webmention(\..*)?",
        rf"{PURE}|asyncio|base64|inspect|ipaddress|msgspec|xml\.etree(\..*)?|{WORDS}|holdfast|holdfast\.registering"
        r"|holdfast\.webmention(?!\.drivers)(\..*)?",
    ),
    (r"holdfast\.registering", rf"{PURE}|msgspec|holdfast\.(errors|store)"),
    (r"holdfast\.(asgi|settings)", rf"{PURE}|.+|!holdfast|holdfast\.(errors|store)"),
    (
        r"holdfast\.hold",
        rf"{PURE}|.+|!holdfast|{WORDS}|holdfast\.asgi|holdfast\.(persist|channels|webmention)(\.driver)?",
    ),
    (r"holdfast\.testing(\..*)?", r".+"),
    (
        r"holdfast\.(cli|web|__main__)(\..*)?",
        rf"{PURE}|.+|!holdfast|{WORDS}|holdfast|holdfast\.(cli|web|settings|hold|asgi|persist|channels|webmention)(?!\.)|holdfast\.(cli|web)\..*"
        r"|holdfast\.(persist|channels|webmention)\.(migrations|registry)|holdfast\.engines\.notes",
    ),
]
DRIVERS = r"holdfast\.(persist|channels|webmention)\.drivers"
CLIENTS = {
    "redis": rf"holdfast\.engines\.redis.*|{DRIVERS}\.redis.*|holdfast\.testing\..*",
    "hiredis": rf"holdfast\.engines\.redis.*|{DRIVERS}\.redis.*",
    "asyncpg": rf"holdfast\.engines\.postgres.*|{DRIVERS}\.postgres.*|holdfast\.testing\..*",
    "sqlite3": rf"holdfast\.engines\.sqlite.*|{DRIVERS}\.sqlite.*",
    "sqlalchemy": rf"holdfast\.engines\.sqlalchemy.*|{DRIVERS}\.sqlalchemy.*",
    "starlette": r"holdfast\.web.*",
    "uvicorn": r"holdfast\.web.*|holdfast\.channels\.transports\.uvicorn",
    "websockets": r"holdfast\.channels\.transports\..*",
    "aiohttp": r"holdfast\.webmention\.(fetch|client|photos).*",
    "selectolax": "",
    "markdown_it": r"holdfast\.webmention\.links",
    "nh3": r"holdfast\.webmention\.sanitising",
    "jinja2": r"holdfast\.web.*",
    "prometheus_client": r"holdfast\.web.*",
    "click": r"holdfast\.cli.*|holdfast\.__main__",
    "rich": r"holdfast\.cli.*",
    "pytest": r"holdfast\.testing\..*",
    "hypothesis": r"holdfast\.testing\..*",
}


def imports(path: Path) -> set[str]:
    """Every module that the file imports, at any depth; `from holdfast import x` is `holdfast.x` where that is one."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module
            for alias in node.names:
                child = f"{node.module}.{alias.name}"
                found.add(child if child in MODULES else node.module)
    return found


def allowed(module: str) -> re.Pattern[str]:
    for pattern, may in RULES:
        match = re.fullmatch(pattern, module)
        if match:
            return re.compile(match.expand(_groups_only(may)))
    raise AssertionError(f"{module}: no rule says what it may import")


def _groups_only(may: str) -> str:
    r"""Backslashes doubled except in \1, so that `expand` fills in the engine's name and nothing else."""
    return re.sub(r"\\(?!1)", r"\\\\", may)


def permits(rule: str, name: str) -> bool:
    parts = rule.split("|!holdfast|")
    if len(parts) == 2 and not re.match(r"holdfast\b", name):
        return True  # any library: the table of client libraries says more
    return re.fullmatch(parts[-1] if len(parts) == 2 else rule, name) is not None


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_what_its_layer_may(module: str) -> None:
    rule = allowed(module).pattern
    wrong = {name for name in imports(MODULES[module]) if not permits(rule, name)}
    assert not wrong, f"{module} imports {sorted(wrong)}"


@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_library_is_imported_only_at_its_edge(client: str) -> None:
    wrong = {
        module
        for module, path in MODULES.items()
        if any(name.split(".")[0] == client for name in imports(path))
        and not re.fullmatch(CLIENTS[client], module)
    }
    assert not wrong, f"{client} is imported by {sorted(wrong)}"


def test_every_source_file_is_under_the_length_where_an_idea_should_be_split_off() -> None:
    long = {module: n for module, path in MODULES.items() if (n := path.read_text().count("\n")) > 430}
    assert not long

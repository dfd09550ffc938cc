"""What `npm ci` installs is always the same, from wherever it comes."""

import json

from tests.acceptance.phoenix_clients.node import HERE, VERSIONS


def test_the_lock_file_pins_the_versions_and_names_no_registry() -> None:
    text = (HERE / "package-lock.json").read_text()
    assert "resolved" not in text
    assert "http" not in text
    packages = json.loads(text)["packages"]
    found = {name.rpartition("-")[2]: package["version"] for name, package in packages.items() if name}
    assert found.keys() == set(VERSIONS)
    assert all(found[version].startswith(version + ".") for version in VERSIONS)

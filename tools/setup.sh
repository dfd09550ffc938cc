#!/bin/sh
# Makes a virtual environment with Holdfast in it: tools/setup.sh VENV EXTRAS [REQUIREMENTS]
# With uv where it is installed, else with Python's own venv and pip. Does nothing where nothing has changed.
set -eu
venv=$1 extras=$2 more=${3:-}
stamp="$venv/.holdfast-$extras"

fail() { printf 'holdfast: %s\n' "$*" >&2; exit 1; }

if [ -f "$stamp" ] && [ "$stamp" -nt pyproject.toml ] && [ "$stamp" -nt "${more:-pyproject.toml}" ] && [ -x "$venv/bin/python" ]; then exit 0; fi

good() { command -v "$1" >/dev/null 2>&1 && "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }
if [ ! -x "$venv/bin/python" ]; then
  python=
  for each in ${PYTHON:-} python3 python3.13 python3.12 python3.11 python3.14 python; do
    if good "$each"; then python=$each; break; fi
  done
  if command -v uv >/dev/null 2>&1; then
    uv venv --quiet --python "${python:-3.11}" "$venv" \
      || fail "no Python 3.11 or newer was found; install one, or name it: make PYTHON=/path/to/python3"
  else
    [ -n "$python" ] || fail "no Python 3.11 or newer was found; install one, or name it: make PYTHON=/path/to/python3"
    "$python" -m venv "$venv" \
      || fail "$python cannot make a virtual environment; on Debian and Ubuntu: apt install python3-venv"
  fi
fi
printf 'holdfast: installing into %s (%s) ...\n' "$venv" "$extras" >&2
if command -v uv >/dev/null 2>&1; then
  uv pip install --quiet --python "$venv/bin/python" -e ".[$extras]" ${more:+-r "$more"} \
    || fail "packages could not be installed; is the package index reachable?"
else
  [ -x "$venv/bin/pip" ] || "$venv/bin/python" -m ensurepip --upgrade >/dev/null \
    || fail "pip is missing from $venv; on Debian and Ubuntu: apt install python3-venv, then rm -r $venv"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -e ".[$extras]" ${more:+-r "$more"} \
    || fail "packages could not be installed; is the package index reachable?"
fi
touch "$stamp"

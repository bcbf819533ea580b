#!/usr/bin/env bash
# Subject:  pytest 9.2.0, an entry point `pytest11`; hypothesis 6.170.15 as the plugin.
# Guess:    pytest rewrites the assertions of the module that the entry point names.
# Really:   every module of the whole distribution is rewritten, the library's own ones, too, and
#           stays so whether or not a test uses the plugin: an `assert` in them runs other code
#           under pytest than it does in the program, and each is compiled once more.
# Matters:  a library that ships a pytest plugin is tested as other bytecode than its users run.
#           Time is measured, and tracebacks and coverage of its asserts are read, with that in mind.
set -euo pipefail
. "$(dirname "$0")/_venv.sh" pytest==9.2.0 hypothesis==6.170.15
cat >"$work/test_loaders.py" <<'PY'
import sys


def loader(name):
    __import__(name)
    return type(sys.modules[name].__loader__).__name__


def test_loaders():
    for name in ("_hypothesis_pytestplugin", "hypothesis.core", "sortedcontainers"):
        print("loader", name, loader(name))
PY
cd "$work"
"$python" -m pytest --version
"$python" -m pytest -q -s -p no:cacheprovider test_loaders.py | tee seen.txt
grep -q "loader _hypothesis_pytestplugin AssertionRewritingHook" seen.txt
grep -q "loader hypothesis.core AssertionRewritingHook" seen.txt
grep -q "loader sortedcontainers SourceFileLoader" seen.txt

# Sourced by each finding, with the pinned packages it needs as arguments. Makes a temporary
# folder `$work` with a virtual environment, names its interpreter `$python`, and removes both
# when the script ends, whichever way it ends.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
python="$work/venv/bin/python"
"$python" -m pip install --quiet --quiet --disable-pip-version-check "$@"

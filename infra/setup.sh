# Sourced by infra/bindery and infra/test: makes .venv beside the source, once for each state of the lock file.
# Needs Python 3.11 to 3.13 with pip, and nothing else; BINDERY_VENV moves the environment.
set -eu
root=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)
venv=${BINDERY_VENV:-$root/.venv}
stamp="$venv/.installed"
wanted="$root $(cat "$root/infra/requirements.lock" "$root/pyproject.toml" | cksum)"

find_python() {
    for name in python3 python3.13 python3.12 python3.11 python; do
        if command -v "$name" >/dev/null 2>&1 &&
            "$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null; then
            echo "$name"
            return
        fi
    done
    echo "bindery: Python 3.11, 3.12 or 3.13 is needed, and none was found" >&2
    exit 2
}

install() {
    python=$(find_python)
    echo "setting up $venv (once; a minute or so) ..." >&2
    # Debian's Python may lack ensurepip: then its own pip installs into the new environment.
    "$python" -m venv --clear "$venv" >/dev/null 2>&1 || "$python" -m venv --clear --without-pip "$venv"
    if "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
        pip="$venv/bin/python -m pip"
    elif "$python" -m pip --version >/dev/null 2>&1; then
        pip="$python -m pip --python $venv/bin/python"
    else
        echo "bindery: pip is needed (on Debian: apt-get install python3-pip)" >&2
        exit 2
    fi
    quiet="--quiet --quiet --disable-pip-version-check --no-input --root-user-action=ignore"
    # The lock has all of it. Were pip to look for dependencies, it would stumble over a newer release of one that is
    # asked for with an extra, which the lock has under its plain name.
    # shellcheck disable=SC2086
    $pip install $quiet --no-deps --require-hashes --only-binary :all: -r "$root/infra/requirements.lock"
    # shellcheck disable=SC2086
    $pip install $quiet --no-deps --no-build-isolation -e "$root"
    echo "$wanted" >"$stamp"
}

if [ "$(cat "$stamp" 2>/dev/null || true)" != "$wanted" ]; then
    mkdir -p "$(dirname -- "$venv")"
    # Two of us at once: one installs, the other waits.
    if command -v flock >/dev/null 2>&1; then
        exec 9>"$venv.lock"
        flock 9
    fi
    [ "$(cat "$stamp" 2>/dev/null || true)" = "$wanted" ] || install
    exec 9>&-
fi

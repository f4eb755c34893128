# Sourced by infra/bindery and infra/dev: makes .venv beside the source, once for each state of the lock file.
# Needs Python 3.11 to 3.13 with pip, and nothing else; BINDERY_VENV moves the environment, BINDERY_PYTHON names the
# interpreter that makes it.
set -eu
root=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)
venv=${BINDERY_VENV:-$root/.venv}
stamp="$venv/.installed"
owner="$venv/.source"
wanted="$root $(cat "$root/infra/requirements.lock" "$root/pyproject.toml" | cksum)"

find_python() {
    for name in ${BINDERY_PYTHON:-} python3 python3.13 python3.12 python3.11 python; do
        if command -v "$name" >/dev/null 2>&1 &&
            "$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null; then
            echo "$name"
            return
        fi
    done
    echo "bindery: Python 3.11, 3.12 or 3.13 is needed, and none was found" >&2
    exit 2
}

is_installed() {
    [ "$(cat "$stamp" 2>/dev/null || true)" = "$wanted" ]
}

# Installing clears the folder first. Only what this clone made there is cleared: another clone runs by its own
# environment, and a folder may hold anything. What lies in the clone itself is its own.
refuse_anothers() {
    [ "$venv" != "$root/.venv" ] && [ -n "$(ls -A "$venv" 2>/dev/null || true)" ] || return 0
    maker=$(cat "$owner" 2>/dev/null || sed 's/ [0-9]* [0-9]*$//' "$stamp" 2>/dev/null || true)
    [ "$maker" != "$root" ] || return 0
    if [ -n "$maker" ]; then
        echo "bindery: $venv is the environment of $maker; name another by BINDERY_VENV, or delete this one" >&2
    else
        echo "bindery: $venv holds something that this set-up did not make; name another folder by BINDERY_VENV" >&2
    fi
    exit 2
}

install() {
    python=$(find_python)
    echo "setting up $venv (once; a minute or so) ..." >&2
    mkdir -p "$venv"
    # Before anything else: a set-up that is broken off is still known as ours.
    echo "$root" >"$owner"
    find "$venv" -mindepth 1 -maxdepth 1 ! -name .source -exec rm -rf {} +
    # Debian's Python may lack ensurepip: then its own pip installs into the new environment.
    "$python" -m venv "$venv" >/dev/null 2>&1 || "$python" -m venv --without-pip "$venv"
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

if ! is_installed; then
    mkdir -p "$(dirname -- "$venv")"
    # Two of us at once: one installs, the other waits.
    if command -v flock >/dev/null 2>&1; then
        exec 9>"$venv.lock"
        flock 9
    fi
    if ! is_installed; then
        refuse_anothers
        install
    fi
    exec 9>&-
fi

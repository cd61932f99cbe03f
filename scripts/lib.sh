# Shared by the scripts of this folder; sourced, not run.

REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
TARGET=${CARGO_TARGET_DIR:-$REPO/target}
# A relative folder is meant from the repository, where cargo is run.
case $TARGET in /*) ;; *) TARGET=$REPO/$TARGET ;; esac

say() { printf '\033[1m==> %s\033[0m\n' "$*"; }
fail() { printf '\nfailed: %s\n' "$*" >&2; exit 1; }

is_root() { [ "$(id -u)" = 0 ]; }

# Runs a command as root.
as_root() {
    if is_root; then "$@"
    elif command -v sudo >/dev/null; then sudo "$@"
    else fail "this needs root, and there is no sudo: $*"
    fi
}

need_cargo() {
    if ! command -v cargo >/dev/null && [ -x "$HOME/.cargo/bin/cargo" ]; then
        PATH=$HOME/.cargo/bin:$PATH
    fi
    command -v cargo >/dev/null || fail "there is no cargo: install Rust 1.95 or later, see https://rustup.rs"
}

# Keys and endpoints of the developer's own account must not reach what is started here.
forget_the_environment() {
    local name
    while IFS='=' read -r name _; do
        case $name in OSC_* | OUTSCALE_* | FOURNIL_* | DATABASE_URL) unset "$name" ;; esac
    done < <(env)
}

# A folder of Python packages as a list says, made anew when the list changes.
need_venv() {
    local venv=$1 requirements=$2
    if cmp -s "$requirements" "$venv/requirements.txt"; then return; fi
    python3 -m venv --clear "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$requirements"
    cp "$requirements" "$venv/requirements.txt"
}

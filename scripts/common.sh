# What scripts/setup and scripts/install share; sourced by both.
# shellcheck shell=bash

readonly DEBIAN_PYTHON=/usr/bin/python3

say() { printf '%s: %s\n' "${0##*/}" "$*"; }
fail() { printf "${0##*/}: %s\n" "$@" >&2; exit 1; }

# Runs a command whose output matters only if it fails.
quietly() {
    local log
    log=$(mktemp)
    if "$@" >"$log" 2>&1 </dev/null; then
        rm -f "$log"
        return 0
    fi
    cat "$log" >&2
    rm -f "$log"
    return 1
}

is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }
# Debian ships venv with every python3, but ensurepip, which brings pip into it, only in python3-venv.
makes_venvs() { "$1" -c 'import ensurepip, venv' >/dev/null 2>&1; }

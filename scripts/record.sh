# What scripts/install puts on a host, and the record of it, by which it can be taken away again. Sourced by it: DEST is what
# stands before every path, RECORD the place of the record, with lines of "kind path" in the order in which they were put.
# shellcheck shell=bash

declare -A placed=()  # what this run has put, or found in its place

is_recorded() { grep -qxF "$1" "$DEST$RECORD" 2>/dev/null; }
recorded() { sed -n "s/^$1 //p" "$DEST$RECORD" 2>/dev/null || true; }

record() {
    placed[$1]=yes
    is_recorded "$1" || printf '%s\n' "$1" >>"$DEST$RECORD"
}

open_record() {
    local path made=()
    for path in /var /var/lib "${RECORD%/*}"; do
        [[ -d $DEST$path ]] || { mkdir -p "$DEST$path" && made+=("$path"); }
    done
    exec {lock}<"$DEST${RECORD%/*}"
    flock -n "$lock" || fail "another installation is under way"
    for path in "${made[@]}"; do record "folder $path"; done
}

# Makes a folder, and notes each one that was not there.
put_folder() {
    local path=$1
    [[ ! -d $DEST$path ]] || return 0
    put_folder "${path%/*}"
    mkdir "$DEST$path"
    record "folder $path"
}

# Renaming puts a file as a whole or not at all, also for who reads it meanwhile.
put_file() {
    put_folder "${2%/*}"
    record "file $2"
    install -m 644 "$1" "$DEST$2.new"
    mv -T "$DEST$2.new" "$DEST$2"
}

put_link() {
    put_folder "${2%/*}"
    record "link $2"
    ln -sfn "$1" "$DEST$2.new"
    mv -T "$DEST$2.new" "$DEST$2"
}

# Removes what another release has put and this one does not.
forget_what_is_gone() {
    local kind path lines
    mapfile -t lines <"$DEST$RECORD"
    for path in "${lines[@]}"; do
        kind=${path%% *} path=${path#* }
        [[ -z ${placed["$kind $path"]:-} ]] || continue
        [[ $kind == file || $kind == link ]] || continue
        rm -f "$DEST$path"
        strike "$kind $path"
    done
}

strike() {
    grep -vxF "$1" "$DEST$RECORD" >"$DEST$RECORD.new" || true
    mv -T "$DEST$RECORD.new" "$DEST$RECORD"
}

#!/bin/sh
# Installs the station of this clone: each version into an environment of its own, switched to when it has shown to run.
#
#   deploy/install.sh                          into /opt/wbc-station, from the package index; the same again: upgrade
#   deploy/install.sh --extras openvino        with a second engine for processors
#   deploy/install.sh --extras tensorrt        with the engine for an NVIDIA GPU (see deploy/gpu.md)
#   deploy/install.sh --offline wheelhouse     without network, from what `make wheelhouse` collected elsewhere
#   deploy/install.sh --service                as root: also user, units and timers; --gpu leaves the GPU in sight
#   deploy/install.sh --roll-back              back to the version before; the same again: forward
#   deploy/install.sh --uninstall              units and environments go, all data stays
#
# PREFIX/current is the version in use, PREFIX/previous the one before, both in PREFIX/versions.
set -eu
umask 022 # the user of the service reads what root installs

usage() {
    sed -n '2,12s/^# \{0,1\}//p' "$0"
    echo "options: --prefix DIR (default /opt/wbc-station)  --python PYTHON (default python3)  --offline WHEELS"
    echo "         --extras A,B (default: those of the version in use)"
    echo "         --dry-run (say what would be done, change nothing)"
    echo "         --root DIR (units below DIR, for the image of a machine: no user is made, nothing is started)"
}
fail() {
    echo "install.sh: $1" >&2
    exit "${2:-1}"
}
act() { # everything that changes anything goes through here, or asks $dry itself
    if [ -n "$dry" ]; then echo "would run: $*"; else "$@"; fi
}
choose() {
    [ -z "$task" ] || fail "one of --roll-back and --uninstall" 2
    task=$1
}

source=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
prefix=/opt/wbc-station python=python3 extras=as-before wheels='' root='' task='' dry='' service='' gpu='' changed=''
data=/var/lib/wbc-station user=wbc-station

read_options() {
    while [ $# -gt 0 ]; do
        case $1 in
            --prefix | --python | --extras | --offline | --root) [ $# -gt 1 ] || fail "$1 needs a value" 2 ;;
        esac
        case $1 in
            -h | --help) usage && exit 0 ;;
            --prefix) prefix=$2 && shift ;;
            --python) python=$2 && shift ;;
            --extras) extras=$2 && shift ;;
            --offline) wheels=$2 && shift ;;
            --root) root=$2 && shift ;;
            --dry-run) dry=yes ;;
            --service) service=yes ;;
            --gpu) gpu=yes ;;
            --roll-back) choose roll_back ;;
            --uninstall) choose uninstall ;;
            *) usage >&2 && fail "unknown option $1" 2 ;;
        esac
        shift
    done
}
check_options() {
    case $prefix in /*) ;; *) prefix=$PWD/$prefix ;; esac
    case $root in '' | /*) ;; *) root=$PWD/$root ;; esac
    prefix=${prefix%/}
    due=$prefix/restart-due
    case $service$prefix in yes*[!A-Za-z0-9/._+-]*) fail "a unit cannot carry $prefix; another --prefix" 2 ;; esac
    [ -z "$gpu" ] || [ -n "$service" ] || fail "--gpu goes with --service" 2
    [ -z "$task" ] || [ -z "$service" ] || fail "--service goes with an installation" 2
    [ "$extras" != as-before ] || extras=$(cat "$prefix/$(in_use)/extras" 2> /dev/null) || extras=''
    case $service,$gpu,$extras, in
        yes,,*tensorrt,* | yes,,*rtx,*) fail "--service with $extras needs --gpu, or the unit hides the GPU" 2 ;;
    esac
    [ -z "$service" ] || may_write_units
}
may_write_units() {
    [ -n "$root" ] || [ -n "$dry" ] || [ "$(id -u)" -eq 0 ] || fail "units and user are root's: sudo $0 ..."
}

# --- versions ------------------------------------------------------------------------------------------------------

in_use() { # relative to $prefix; nothing where nothing is installed. Before there were versions it was .venv.
    readlink "$prefix/current" || { [ ! -x "$prefix/.venv/bin/station" ] || echo .venv; }
}
link() { # in one step: whoever starts the station meanwhile finds the old version or the new one
    act ln -sfn "$2" "$prefix/$1.new"
    act mv -T "$prefix/$1.new" "$prefix/$1"
}
runs() { # with all that `run` loads, which a wheel for another processor or system would not survive
    "$1/bin/station" --version > /dev/null && "$1/bin/station" run --help > /dev/null
}
check_python() {
    "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2> /dev/null ||
        fail "$python is no Python 3.11 to 3.13; name one by --python (on JetPack 6 the system's Python is 3.10)"
}
check_wheels() {
    [ -n "$wheels" ] || return 0
    [ -d "$wheels" ] || fail "there is no folder $wheels; \`make wheelhouse\` on a machine with network makes one" 2
    wheels=$(CDPATH='' cd -- "$wheels" && pwd)
    [ -n "$(find "$wheels" -name 'wbc_station-*.whl')" ] || fail "$wheels holds no wbc_station-*.whl; see \`make wheelhouse\`"
}
version() {
    if [ -n "$wheels" ]; then
        find "$wheels" -name 'wbc_station-*.whl' | sed 's/.*wbc_station-\([^-]*\)-.*/\1/' | sort -V | tail -n 1
    else
        sed -n 's/^version = "\(.*\)"/\1/p' "$source/pyproject.toml"
    fi
}
ingredients() { # the same ones make the same version
    "$python" -VV
    echo "$extras"
    if [ -n "$wheels" ]; then
        cd "$wheels" && find . -type f -exec cksum {} +
    else
        cd "$source" &&
            find station trainer pyproject.toml deploy/constraints.txt -type f ! -name '*.pyc' -exec cksum {} +
    fi
}
fingerprint() {
    (ingredients) | LC_ALL=C sort | cksum
}
pip_of() {
    environment=$1
    shift
    "$environment/bin/python" -m pip --disable-pip-version-check -q "$@"
}
fill() {
    if [ -n "$wheels" ]; then
        pip_of "$1" install --no-index --find-links "$wheels" "wbc-station${extras:+[$extras]}" ||
            fail "$wheels lacks a wheel for this Python, processor and these extras${old:+; $old stays}"
    else
        sh "$source/deploy/clean-copy.sh" "$1/source" || fail "$source cannot be copied${old:+; $old stays}"
        pip_of "$1" install -c "$source/deploy/constraints.txt" "$1/source${extras:+[$extras]}" ||
            fail "pip could not install the station${old:+; $old stays}"
        rm -rf "$1/source"
    fi
}
build() { # a version that fails leaves nothing behind
    made=$1
    mkdir -p "$prefix/versions" || fail "$prefix cannot be made; another place: --prefix DIR"
    trap 'rm -rf "$made"' EXIT
    trap 'exit 130' HUP INT TERM
    "$python" -m venv "$made" || fail "$python makes no environments (on Debian and Ubuntu: apt install python3-venv)"
    fill "$made"
    runs "$made" || fail "what was installed does not run${old:+; $old stays}"
    serves "$made" || fail "$user cannot run $(readlink -f "$made/bin/python") in $prefix; $way_in${old:+; $old stays}"
    echo "$extras" > "$made/extras"
    echo "$mark" > "$made/fingerprint" # last: with it the version is whole
    trap - EXIT HUP INT TERM
}
remove_others() { # all versions but these two
    for one in "$prefix"/versions/*; do
        case $one in "$prefix/$1" | "$prefix/$2" | "$prefix/versions/*") ;; *) act rm -rf "$one" ;; esac
    done
}
upgrade() {
    check_python
    check_wheels
    [ -z "$service" ] || make_user
    old=$(in_use) mark=$(fingerprint)
    if [ "$mark" = "$(cat "$prefix/$old/fingerprint" 2> /dev/null)" ] &&
        runs "$prefix/$old" && serves "$prefix/$old"; then
        echo "$old is installed already, from the same files"
        [ -n "$service" ] || [ ! -e "$due" ] || restart "$(way_back)"
        return
    fi
    new=versions/$(version)-$(date -u +%Y%m%dT%H%M%SZ)
    while [ -e "$prefix/$new" ]; do new=$new+; done
    if [ -z "$dry" ]; then
        build "$prefix/$new"
    else
        echo "would install: $prefix/$new${extras:+ with $extras}, from ${wheels:-$source and the package index}"
    fi
    changed=yes
    if is_due; then # what is in use has never served: the way back is to the one that did, and nothing is removed
        [ -z "$old" ] || [ -L "$prefix/previous" ] || link previous "$old"
        link current "$new"
    else
        owe
        [ -z "$old" ] || link previous "$old"
        link current "$new"
        remove_others "$new" "$old"
    fi
    [ -n "$dry" ] || echo "installed: $prefix/current/bin/station ($new)${old:+; back to $old: $0 --roll-back}"
    [ -n "$service" ] || restart "$(way_back)"
}
roll_back() {
    old=$(in_use)
    before=$(readlink "$prefix/previous") || fail "$prefix holds no version before the one in use"
    { runs "$prefix/$before" && serves "$prefix/$before"; } || fail "$before does not run; $old stays"
    owe
    link current "$before"
    link previous "$old"
    # Before the service starts: where the database is refused, it does not, and this is what helps.
    echo "${dry:+would be }in use: $before. It refuses a database that $old has brought to a newer schema."
    echo "Then, with the service stopped, station restore the copy that was made before:"
    echo "station.db.before-SCHEMA beside the database (see README)."
    restart "; if the log says that a newer version made the database, restore the copy that is named above"
}

# --- the service ---------------------------------------------------------------------------------------------------

units=/etc/systemd/system
unstartable="the service does not start: journalctl -u station"
way_in="a home may be closed to the service: --python /usr/bin/python3, or another --prefix"
way_back() { # where there is one
    [ ! -L "$prefix/previous" ] || echo "; the version before: $0 --roll-back"
}
shipped() { # what lies in systemd/, relative
    (cd "$source/systemd" && find . -type f) | sed -n '/\(service\|timer\|conf\)$/s|^\./||p' | LC_ALL=C sort
}
systemd() { # below --root only links are made
    act systemctl ${root:+"--root=$root"} "$@"
}
calls() {
    grep -qsF "=$prefix/$1" "$root$units/station.service"
}
is_booted() {
    [ -z "$root" ] && [ -d /run/systemd/system ]
}
restart() { # what else to say where that fails
    if calls .venv/; then echo "the service still calls $prefix/.venv; --service renews its unit"; fi
    calls current/ && is_booted || return 0
    if [ "$(id -u)" -ne 0 ]; then
        echo "the service goes on with the version that it runs until: sudo systemctl restart station"
        return
    fi
    systemd try-restart station.service || fail "$unstartable$1"
    paid
}
owe() { # until the service was started anew it runs what it ran, or nothing: whatever ends this script
    if [ -n "$dry" ] || ! calls current/ || ! is_booted; then return 0; fi
    : > "$due"
}
paid() {
    [ -n "$dry" ] || rm -f "$due"
}
is_due() { # and nobody else has started it since
    [ -e "$due" ] || return 1
    entered=$(systemctl show --property ActiveEnterTimestamp --value station.service 2> /dev/null) || return 0
    [ -n "$entered" ] || return 0
    started=$(date -d "$entered" +%s 2> /dev/null) || return 0
    [ "$started" -le "$(stat -c %Y "$due")" ]
}
make_user() {
    [ -z "$root" ] || return 0
    getent passwd "$user" > /dev/null ||
        act useradd --system --user-group --home-dir "$data" --no-create-home --shell /usr/sbin/nologin "$user"
    [ -d "$data" ] || act install -d -o "$user" -g "$user" -m 0750 "$data"
}
serves() { # as the user of the service, to whom the home that a Python of pyenv or uv lies in is closed
    [ -n "$service" ] || calls current/ || return 0
    if [ -n "$root" ] || [ "$(id -u)" -ne 0 ]; then return 0; fi
    getent passwd "$user" > /dev/null || return 0 # a dry run makes none
    (cd / && runuser -u "$user" -- "$1/bin/station" --version > /dev/null)
}
put() {
    to=$root$units/$1
    unit=$(sed "s|/opt/wbc-station|$prefix|g" "$source/systemd/$1")
    [ "$unit" != "$(cat "$to" 2> /dev/null)" ] || return 0
    changed=yes
    if [ -n "$dry" ]; then echo "would write: $to" && return; fi
    mkdir -p "$(dirname "$to")"
    printf '%s\n' "$unit" > "$to.new"
    mv "$to.new" "$to"
    owe
}
put_units() {
    cpu=station.service.d/cpu.conf
    for one in $(shipped); do
        [ "$gpu$one" = "yes$cpu" ] || put "$one"
    done
    if [ -n "$gpu" ] && [ -e "$root$units/$cpu" ]; then
        act rm "$root$units/$cpu"
        changed=yes
    fi
}
install_service() {
    put_units
    [ ! -e "$due" ] || changed=yes
    ! is_booted || systemd daemon-reload
    # shellcheck disable=SC2046
    systemd enable $(shipped | grep -e '^station.service$' -e 'timer$')
    if [ -n "$root" ]; then return; fi
    if [ ! -e "$data/station.toml" ]; then
        echo "next: sudo -u $user $prefix/current/bin/station init $data --camera FOLDER --time-zone ZONE"
        echo "then: sudo systemctl start station.service $(shipped | grep 'timer$' | tr '\n' ' ')"
    elif is_booted; then
        # shellcheck disable=SC2046
        systemd "${changed:+re}start" station.service $(shipped | grep 'timer$') || fail "$unstartable$(way_back)"
        paid
    fi
}
remove_units() {
    calls '' || return 0
    may_write_units
    # shellcheck disable=SC2046
    systemd disable $(is_booted && echo --now) $(shipped | grep -e 'service$' -e 'timer$') || true
    for one in $(shipped); do
        [ ! -e "$root$units/$one" ] || act rm "$root$units/$one"
    done
    for one in "$root$units"/station*.service.d; do # not where somebody has put a file of his own
        [ -n "$dry" ] || rmdir "$one" 2> /dev/null || true
    done
    ! is_booted || systemd daemon-reload
}
uninstall() { # services first, then what they run
    remove_units
    for one in current current.new previous previous.new restart-due versions; do
        [ ! -e "$prefix/$one" ] && [ ! -L "$prefix/$one" ] || act rm -rf "$prefix/$one"
    done
    # of an installation before there were versions; in a clone it is the developer's
    [ "$prefix" = "$source" ] || [ ! -x "$prefix/.venv/bin/station" ] || act rm -rf "$prefix/.venv"
    [ -n "$dry" ] || rmdir "$prefix" 2> /dev/null || true
    echo "kept: $data with settings, database and models, backups elsewhere, the camera's folder, the user $user"
}

read_options "$@"
check_options
if [ -n "$task" ]; then
    $task
else
    upgrade
    [ -z "$service" ] || install_service
    [ -n "$service" ] || echo "next: $prefix/current/bin/station init DIR --camera FOLDER"
fi

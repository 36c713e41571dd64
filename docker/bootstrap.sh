#!/bin/sh
# Makes this checkout ready to run: .venv from requirements.txt, Java, and Spark's classes archived for it. With the argument `test` also PostgreSQL and, where it can, Chromium.
# Safe to repeat; takes about a second when nothing is missing.
set -eu
cd "$(dirname "$0")/.."
unset PYTHONDONTWRITEBYTECODE  # modules compiled once start Airflow and transformers several times faster

say() { echo "set-up: $*"; }
stop() { echo "set-up: $*" >&2; exit 1; }

apt_install() {  # PACKAGE... : 0 when apt could install them, as root or through a sudo that asks nothing
    command -v apt-get >/dev/null 2>&1 || return 1
    if [ "$(id -u)" = 0 ]; then root="env"; elif sudo -n true 2>/dev/null; then root="sudo -n env"; else return 1; fi
    say "installing $* with apt-get"
    apt="$root DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Acquire::Retries=1 -o Acquire::http::Timeout=30 -o DPkg::Lock::Timeout=120"
    $apt install --no-install-recommends "$@" >/dev/null 2>&1 && return 0
    $apt update >/dev/null 2>&1 && $apt install --no-install-recommends "$@" >/dev/null 2>&1
}

find_python() {
    for python in ${PYTHON:-} python3.11 python3 python; do
        if "$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' >/dev/null 2>&1; then return 0; fi
    done
    stop "Python 3.11 was not found; install it (Debian: apt-get install python3.11 python3.11-venv) or name it: PYTHON=/path/to/python3.11 make demo"
}

make_venv() {
    find_python
    say "making .venv with $("$python" --version)"
    "$python" -c 'import ensurepip, venv' >/dev/null 2>&1 || apt_install python3.11-venv ||
        stop "Python 3.11 lacks its venv module; install the package python3.11-venv (apt-get install python3.11-venv)"
    "$python" -m venv .venv
}

count_lines() {  # TOTAL: pip's own lines become one in forty
    count=0
    while IFS= read -r line; do
        case "$line" in
        Collecting* | Processing* | "Requirement already"*)
            count=$((count + 1))
            [ $((count % 40)) != 0 ] || say "  $count of $1 found"
            ;;
        "Installing collected"*) say "  all found, unpacking" ;;
        esac
    done
}

install_requirements() {
    wanted=$(.venv/bin/python -c 'import hashlib; print(hashlib.sha256(open("requirements.txt", "rb").read()).hexdigest())')
    stamp=.venv/.requirements.sha256
    [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ] || return 0
    total=$(grep -c '==' requirements.txt)
    say "installing the $total packages of requirements.txt into .venv (some minutes the first time; details in var/set-up.log)"
    mkdir -p var
    rm -f "$stamp"
    { .venv/bin/python -m pip install --disable-pip-version-check --no-compile -r requirements.txt 2>&1 && echo "pip: done"; } |
        tee var/set-up.log | count_lines "$total" || true
    if [ "$(tail -n 1 var/set-up.log)" != "pip: done" ]; then
        tail -n 15 var/set-up.log >&2
        stop "pip could not install requirements.txt, for the reason above; once that is mended (no network? a folder of wheels: PIP_FIND_LINKS), repeat the command"
    fi
    say "compiling modules"
    # Some packages ship files that are Python 2 or templates; they stay uncompiled.
    .venv/bin/python -m compileall -q -j0 .venv/lib >/dev/null 2>&1 || true
    echo "$wanted" >"$stamp"
}

java_version() {  # the major version that Spark would start with, or nothing
    "${JAVA_HOME:+$JAVA_HOME/bin/}java" -version 2>&1 | sed -n '1,3s/.*version "\([0-9]*\).*/\1/p'
}

need_java() {
    found=$(java_version)
    [ "${found:-0}" -lt 17 ] || return 0
    if [ -z "${JAVA_HOME:-}" ]; then
        apt_install openjdk-17-jre-headless || apt_install openjdk-21-jre-headless || true
        found=$(java_version)
    fi
    [ "${found:-0}" -lt 17 ] || return 0
    if [ -n "${JAVA_HOME:-}" ]; then have="JAVA_HOME=$JAVA_HOME has ${found:-none}"; else have="${found:-none} was found"; fi
    stop "Spark needs Java 17 or newer and $have; install it (apt-get install openjdk-17-jre-headless) or set JAVA_HOME to one"
}

keep_classes() {  # again after another Java or other jars; without them Spark starts all the same, only slower
    [ -w .venv ] || return 0
    wanted="$(cat .venv/.requirements.sha256) $("${JAVA_HOME:+$JAVA_HOME/bin/}java" -version 2>&1)"
    stamp=.venv/.spark-classes
    [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ] || return 0
    say "archiving Spark's classes, so that it starts in half the time (about a minute, once)"
    mkdir -p var
    .venv/bin/python -m docker.spark_classes >var/spark-classes.log 2>&1 ||
        say "that failed for the reason in var/spark-classes.log; Spark starts without, only slower (to try again: rm $stamp)"
    echo "$wanted" >"$stamp"
}

keep_kernels() {  # again after a change of a module that has some; without them the first night compiles them
    [ -w recsys_core ] || return 0
    stamp=.venv/.kernels
    modules=$(grep -rl --include='*.py' 'recsys_core[.]compiled' recsys_core)
    # shellcheck disable=SC2086 - names of modules
    [ ! -e "$stamp" ] || [ -n "$(find $modules recsys_core/compiled.py .venv/.requirements.sha256 -newer "$stamp" -print -quit)" ] || return 0
    say "compiling the loops of a night (half a minute, once)"
    mkdir -p var
    .venv/bin/python -m docker.kernels >var/kernels.log 2>&1 || say "that failed for the reason in var/kernels.log; the first night will try again"
    touch "$stamp"
}

need_postgres() {
    .venv/bin/python docker/postgres.py --check >/dev/null 2>&1 && return 0
    apt_install postgresql || true
    .venv/bin/python docker/postgres.py --check >/dev/null || stop "the tests need the PostgreSQL server's programs; install them (apt-get install postgresql)"
}

want_chromium() {
    for browser in chromium chromium-browser google-chrome; do
        if command -v "$browser" >/dev/null 2>&1; then return 0; fi
    done
    apt_install chromium || say "no Chromium here and apt-get could not install it: the tests of Airflow's pages will be skipped (apt-get install chromium)"
}

case "${1:-}" in "" | test) ;; *) echo "usage: sh docker/bootstrap.sh [test]" >&2; exit 2 ;; esac
.venv/bin/python -c 'import pip' >/dev/null 2>&1 || make_venv
need_java
install_requirements
keep_classes
keep_kernels
if [ "${1:-}" = test ]; then
    need_postgres
    want_chromium
fi

# Shared by the scripts beside it: installs what they need. Sourced by bash, never run.
#
# Each ensure_ function does nothing, and prints nothing, when there is nothing to do.

sources=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() {
    printf '%s\n' "$*" >&2
}

die() {
    say "$*"
    exit 1
}

# Runs a command as root; fails if that is not possible.
as_root() {
    if ((EUID == 0)); then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        return 1
    fi
}

# ensure_apt PACKAGE…: installs the missing ones of those Debian packages.
ensure_apt() {
    local package missing=()
    for package in "$@"; do
        if [[ $(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null) != installed ]]; then
            missing+=("$package")
        fi
    done
    if ((${#missing[@]} == 0)); then
        return
    fi
    if ! command -v apt-get >/dev/null; then
        die "Missing: ${missing[*]} (Debian's names). There is no apt-get here; install them with this system's package manager."
    fi
    if ((EUID != 0)) && ! command -v sudo >/dev/null; then
        die "Missing: ${missing[*]}. Install them as root: apt-get install ${missing[*]}"
    fi
    say "Installing ${missing[*]} …"
    as_root apt-get update -qq >&2 || die "The package lists cannot be fetched; missing: ${missing[*]}"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2 ||
        die "These packages cannot be installed: ${missing[*]}"
}

# Build dependencies beside Rust: a C compiler (SQLite, ring), make (jemalloc) and OpenSSL's headers (JOSE). They are
# detected by their function, so that systems other than Debian work too.
ensure_build_tools() {
    local packages=()
    command -v cc >/dev/null || packages+=(gcc libc6-dev)
    command -v make >/dev/null || packages+=(make)
    command -v pkg-config >/dev/null || packages+=(pkg-config)
    { command -v pkg-config >/dev/null && pkg-config --exists openssl; } || packages+=(libssl-dev)
    # cargo has its own trust store; curl, for rustup, uses the system's.
    if ((${#packages[@]} > 0)); then
        ensure_apt "${packages[@]}"
    fi
}

# A Rust toolchain on PATH: the existing one, or else rustup's stable one.
ensure_rust() {
    local home=${CARGO_HOME:-$HOME/.cargo}
    if command -v cargo >/dev/null; then
        return
    fi
    if [[ ! -x $home/bin/cargo ]]; then
        command -v curl >/dev/null || ensure_apt curl ca-certificates
        say "Installing a Rust toolchain with rustup …"
        local installer
        installer=$(curl --proto '=https' --tlsv1.2 --silent --show-error --fail --max-time 60 https://sh.rustup.rs) ||
            die "There is no Rust toolchain, and https://sh.rustup.rs cannot be reached. Install Rust: https://rustup.rs"
        sh -s -- -y --quiet --profile minimal --no-modify-path <<<"$installer" >&2 ||
            die "rustup could not install a Rust toolchain. Install Rust: https://rustup.rs"
    fi
    export PATH="$home/bin:$PATH"
}

# The target directory of these sources.
target_directory() {
    (cd "$sources" && realpath --canonicalize-missing "${CARGO_TARGET_DIR:-target}")
}

# The servers of the distributed engine: redis-server on PATH, and Amazon DynamoDB Local with its Java.
ensure_store_servers() {
    local packages=()
    command -v redis-server >/dev/null || packages+=(redis-server)
    command -v java >/dev/null || packages+=(openjdk-17-jre-headless)
    if ((${#packages[@]} > 0)); then
        ensure_apt "${packages[@]}"
    fi
    ensure_dynamodb_local
}

# DynamoDB Local in dynamodb-local/ of the target directory, in the version that its pom.xml names.
ensure_dynamodb_local() {
    local wanted=$sources/tests/peers/dynamodb/pom.xml place
    place=$(target_directory)/dynamodb-local
    if cmp --silent "$wanted" "$place/pom.xml"; then
        return
    fi
    command -v mvn >/dev/null || ensure_apt maven
    say "Fetching DynamoDB Local …"
    rm -rf "$place" "$place.part"
    mvn --batch-mode --quiet --strict-checksums --file "$wanted" dependency:copy-dependencies \
        "-DoutputDirectory=$place.part" >&2 || die "DynamoDB Local cannot be fetched."
    # Copied last: a directory that has this file is complete.
    cp "$wanted" "$place.part/pom.xml"
    mv "$place.part" "$place"
}

#!/usr/bin/env bash
# Installs what the tests marked 'hospital' speak to, from Debian's own packages: a real archive (Orthanc), DICOM's tools, and
# two validators of DICOM objects. Asks nothing, does nothing where all is there, and starts no service: Orthanc would listen
# on every address of the machine.
set -euo pipefail

PACKAGES=(orthanc orthanc-dicomweb dcmtk dicom3tools pixelmed-apps)
POLICY=${POLICY:-/usr/sbin/policy-rc.d}  # what Debian's packages ask before they start a service; 101 is "no"
ATTEMPTS=4

missing=()
for package in "${PACKAGES[@]}"; do
    state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

complain() {
    echo "$0: $1" >&2
    echo "$0: not installed: ${missing[*]}. Without them the tests marked 'hospital' cannot run." >&2
    exit 1
}

command -v apt-get >/dev/null || complain "this is no Debian: apt-get is not here"
as_root=()
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || complain "this needs root, or sudo"
    as_root=(sudo -n)
fi

if [ ! -e "$POLICY" ]; then
    trap '"${as_root[@]}" rm -f "$POLICY"' EXIT
    printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$POLICY" >/dev/null
    "${as_root[@]}" chmod 755 "$POLICY"
fi

install() {
    "${as_root[@]}" apt-get update -q -o DPkg::Lock::Timeout=300 &&
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
            apt-get install -q -y --no-install-recommends -o DPkg::Lock::Timeout=300 "${missing[@]}"
}

echo "Installing ${missing[*]}: up to 150 MB and two minutes"
for attempt in $(seq "$ATTEMPTS"); do
    if install </dev/null; then
        exit 0
    fi
    [ "$attempt" -eq "$ATTEMPTS" ] || { echo "$0: attempt $attempt of $ATTEMPTS failed; the next in $((attempt * 15)) s" >&2; sleep $((attempt * 15)); }
done
complain "apt-get failed $ATTEMPTS times; the reason stands above"

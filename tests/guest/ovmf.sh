#!/bin/sh
# OVMF as Debian packages it, an image of flash that is only read: reaches its shell.
# usage: ovmf.sh CASULO ENGINE
set -u
casulo=$1 engine=$2
dir=$(mktemp -d) || exit 1
pid=
trap '[ -z "$pid" ] || kill $pid 2>/dev/null; rm -rf "$dir"' EXIT
ovmf=$("$(dirname "$0")/../../tools/guest/package" ovmf) || {
	echo "Debian's OVMF cannot be downloaded"
	exit 77
}

"$casulo" boot --engine "$engine" --net none --timeout 120 --bios "$ovmf/usr/share/ovmf/OVMF.fd" \
	--console "file=$dir/out" </dev/null 2>"$dir/err" &
pid=$!
until grep -aq 'Shell> ' "$dir/out" 2>/dev/null; do
	kill -0 $pid 2>/dev/null || {
		echo "FAIL no shell"
		tail -n 40 "$dir/out"
		cat "$dir/err"
		exit 1
	}
	sleep 0.5
done
echo "ok   the shell"

#!/bin/sh
# Debian's stock kernel moves between machines again and again, at work.
# usage: moves.sh MOVES CPUS		MOVES: the program moves.c
# $GUEST is a folder made by prepare; without it we make one.
set -u
moves=$1 cpus=$2
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
guest=${GUEST-$dir/guest}
[ -n "${GUEST-}" ] || "$(dirname "$0")/prepare" "$guest" || exit $?

dd if=/dev/urandom of="$dir/disk" bs=64k count=16 2>/dev/null
timeout 240 "$moves" "$dir/console" 700 15 --kernel "$guest/vmlinuz" --initrd "$guest/initrd" \
	--append "console=ttyS0 quiet panic=-1 run=/job/moves cpus=$cpus" --cpus "$cpus" --memory 192M \
	--net none --disk "$dir/disk,readonly" 2>"$dir/err"
code=$?
ls "$dir"/console.* | sort -t . -k 3 -n | xargs cat >"$dir/out"
cat "$dir/out" "$dir/err"
[ $code -eq 0 ] || { echo "FAIL exit code $code" && exit 1; }
grep -q 'moves: failed 0' "$dir/out" || { echo "FAIL the job in the guest" && exit 1; }

#!/bin/sh
# Segments, far transfers and faults under Debian's kernel: the program says what a real processor's
# says.  Cases that need 16-bit segments are left out where the kernel refuses them.
# usage: faults.sh CASULO ENGINE PROGRAM EXPECTED
set -u
casulo=$1 engine=$2 program=$3 expected=$4
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
guest=${GUEST-$dir/guest}
[ -n "${GUEST-}" ] || "$(dirname "$0")/prepare" "$guest" || exit $?

# Archives one after the other are one initial file system.
mkdir -p "$dir/tree/job"
cp "$program" "$dir/tree/job/faults"
cp "$guest/initrd" "$dir/initrd"
(cd "$dir/tree" && find . | cpio -o -H newc -R 0:0 --quiet) >>"$dir/initrd"

"$casulo" boot --engine "$engine" --timeout 240 --net none --kernel "$guest/vmlinuz" \
	--initrd "$dir/initrd" --append "console=ttyS0 quiet panic=-1 run=/job/faults" </dev/null \
	>"$dir/out" 2>"$dir/err"
code=$?
tr -d '\r' <"$dir/out" | grep -E '^([a-z0-9_]+: (signal|ax)|end$)' >"$dir/seen"
differ=$(grep -Fxv -f "$expected" "$dir/seen")
lines=$(wc -l <"$dir/seen")
if [ $code -ne 0 ] || [ -n "$differ" ] || [ "$(tail -n 1 "$dir/seen")" != end ] || [ "$lines" -lt 110 ]; then
	echo "FAIL exit code $code, $lines lines, different:"
	echo "$differ" | while read -r name rest; do
		echo "  is:        $name $rest"
		echo "  should be: $(grep "^$name" "$expected")"
	done
	sed 's/^/  err: /' "$dir/err"
	exit 1
fi
echo "ok   $lines cases"

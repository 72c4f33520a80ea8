#!/bin/sh
# A program of floating-point, vector and string work prints the same on the host and under Debian's
# kernel in a guest of 2 vCPUs.
# usage: numbers.sh CASULO ENGINE PROGRAM
set -u
casulo=$1 engine=$2 program=$3
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
"$(dirname "$0")/prepare" "$dir" || exit $?

mkdir -p "$dir/numbers/job"
cp "$program" "$dir/numbers/job/numbers"
"$(dirname "$0")/../../tools/guest/initrd" "$dir/initrd" "" "$dir/numbers" || exit 1
"$program" >"$dir/want" || exit 1
"$casulo" boot --engine "$engine" --cpus 2 --net none --timeout 240 --kernel "$dir/vmlinuz" \
	--initrd "$dir/initrd" --append "console=ttyS0 quiet panic=-1 run=/job/numbers" \
	</dev/null >"$dir/out" 2>"$dir/err"
code=$?
tr -d '\r' <"$dir/out" | grep -E '^(rewritten|mathematics|strings|rounding|signal|thread) ' >"$dir/got"
if [ $code -ne 0 ] || ! diff "$dir/want" "$dir/got"; then
	echo "FAIL exit code $code"
	cat "$dir/out" "$dir/err"
	exit 1
fi
cat "$dir/got" "$dir/err"

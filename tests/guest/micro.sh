#!/bin/sh
# A micro-guest on an engine: what it prints must be exactly what micro/GUEST.out has, for every engine.
# usage: micro.sh CASULO GUESTS GUEST ENGINE
set -u
casulo=$1 guests=$2 name=$3 engine=$4
here=$(cd "$(dirname "$0")" && pwd)
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT

if [ "$engine" = kvm ] && ! (exec 3<>/dev/kvm) 2>/dev/null; then
	echo "needs /dev/kvm"
	exit 77
fi
"$casulo" boot --engine "$engine" --kernel "$guests/$name.elf" --cpus 2 --memory 64M --net none --quiet \
	--console "file=$dir/out" --device isa-debug-exit --timeout 60 2>"$dir/err"
code=$?
cat "$dir/err"
if [ $code -ne 33 ] || ! diff "$here/micro/$name.out" "$dir/out"; then
	echo "FAIL $name on $engine: exit code $code, not 33"
	sed 's/^/  out: /' "$dir/out"
	exit 1
fi

#!/bin/sh
# Boot protocols end to end: small kernels of each kind run and tell what they got.
# usage: boot.sh CASULO KERNELS [ENGINE]
set -u
casulo=$1 kernels=$2 engine=${3-soft}
if [ "$engine" = kvm ] && ! (exec 3<>/dev/kvm) 2>/dev/null; then
	echo "needs /dev/kvm"
	exit 77
fi
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
failed=0

# check NAME EXIT-CODE EXPECTED-OUTPUT ARGUMENT...: both must be exactly so.
check() {
	name=$1 code=$2 want=$3
	shift 3
	"$casulo" boot --engine "$engine" --net none --console "file=$dir/out" --timeout 20 "$@" 2>"$dir/err"
	got=$?
	if [ $got -ne "$code" ] || [ "$(cat "$dir/out")" != "$want" ]; then
		echo "FAIL $name: exit code $got, not $code"
		sed 's/^/  out: /' "$dir/out"
		sed 's/^/  err: /' "$dir/err"
		failed=1
	else
		echo "ok   $name"
	fi
}

printf 'some bytes' >"$dir/mod"
check multiboot 33 "command line: $kernels/multiboot.elf one two
loader: Casulo
module: $dir/mod with args
contents: some bytes" \
	--kernel "$kernels/multiboot.elf" --append "one two" --module "$dir/mod with args" \
	--device isa-debug-exit
check pvh 0 "pvh: hello" --kernel "$kernels/pvh.elf" --append hello
check crash 4 "pvh: " --kernel "$kernels/crash.elf"
if ! grep -q "RIP" "$dir/err" && ! grep -q "rip" "$dir/err"; then
	echo "FAIL crash: no registers in the report"
	failed=1
fi
exit $failed

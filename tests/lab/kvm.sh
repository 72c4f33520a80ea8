#!/bin/sh
# The kvm engine on a computer with AMD-V, that is in the lab host: `auto` chooses it there, the
# micro-guests and guest tests pass on it, and the TESTs (programs).
# usage: kvm.sh CASULO TOOL CPUS KERNELS MICRO-GUESTS TEST...
set -u
casulo=$1 tool=$2 cpus=$3 kernels=$4 micro=$5
shift 5
here=$(cd "$(dirname "$0")" && pwd)
if ! command -v qemu-system-x86_64 >/dev/null; then
	echo "needs qemu-system-x86_64: ./dev setup test installs it"
	exit 77
fi
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
"$here/../guest/prepare" "$dir/job/guest" || exit $?

# What runs where nothing else is: casulo, tests and their shared libraries, the loader among them.
mkdir -p "$dir/bin" "$dir/job/tests" "$dir/job/micro"
cp "$casulo" "$dir/bin/casulo"
cp "$tool" "$dir/bin/tool"
cp "$@" "$dir/job/tests/"
ldd "$casulo" "$@" | sed -n 's/^[^/]*\(\/[^ ]*\) (.*/\1/p' | sort -u | while read -r lib; do
	mkdir -p "$dir${lib%/*}"
	cp -L "$lib" "$dir$lib"
done
cp "$here/../guest/linux.sh" "$here/../guest/micro.sh" "$dir/job/"
cp "$here"/../guest/micro/*.out "$micro"/*.elf "$dir/job/micro/"
cp "$kernels"/*.elf "$kernels"/*.bin "$here/../guest/boot.sh" "$here/../guest/seabios.sh" "$dir/job/"
bios=/usr/share/seabios
if [ -d $bios ]; then
	mkdir -p "$dir$bios"
	cp -L $bios/bios-256k.bin "$dir$bios/"
fi
cp "$here/job" "$dir/job/run"
echo "$cpus" >"$dir/job/cpus"

for try in 1 2; do
	"$here/host" "$tool" "$cpus" 400 "$dir"
	code=$?
	# QEMU's emulation hangs at times (see host): once more then, but never for a wrong result.
	[ $code -eq 124 ] || break
	echo "lab: out of time (try $try of 2)"
done
exit $code

#!/bin/sh
# A session at the terminal: a shell in the guest, our escape key and its help, quitting by it.
# usage: terminal.sh CASULO ENGINE EXPECT
set -u
casulo=$1 engine=$2 expect=$3
tools=$(cd "$(dirname "$0")" && pwd)/../../tools/guest
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
kernel=$("$tools/kernel") || {
	echo "Debian's kernel cannot be downloaded"
	exit 77
}
"$tools/initrd" "$dir/initrd" "virtio_pci" || exit 1

# Ctrl-C is the guest's, Ctrl-] ours; twice, the guest's too.  The shell's answers are not in what is
# typed, which the terminal shows as well.
"$expect" 200 "$casulo" boot --engine "$engine" --net none --kernel "$kernel/vmlinuz" \
	--initrd "$dir/initrd" --append "console=ttyS0 quiet panic=-1" <<'END'
wait guest: user space
wait / #
send echo answer $((6 * 7))\r
wait answer 42
wait / #
send sleep 1000\r
wait sleep 1000
send \x03
wait / #
send \x1dh
wait quits
send echo still $((50 + 1))\r
wait still 51
send \x1dq
END
code=$?
[ $code -eq 5 ] || {
	echo "FAIL exit code $code, not 5"
	exit 1
}

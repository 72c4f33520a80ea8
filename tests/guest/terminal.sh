#!/bin/sh
# A session at the terminal: a shell in the guest, our escape key and its help, quitting by it.
# usage: terminal.sh CASULO ENGINE EXPECT
set -u
casulo=$1 engine=$2 expect=$3
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
"$(dirname "$0")/prepare" "$dir" || exit $?

# Ctrl-C is the guest's, Ctrl-] ours.  The answers waited for aren't in what is typed, which the
# terminal shows as well.
"$expect" 200 "$casulo" boot --engine "$engine" --net none --kernel "$dir/vmlinuz" \
	--initrd "$dir/initrd" --append "console=ttyS0 quiet panic=-1" <<'END'
wait guest: user space
wait ~ #
send echo answer $((6 * 7))\r
wait answer 42
wait ~ #
send echo $((8 * 8)); sleep 1000\r
wait 64
send \x03
wait ~ #
send \x1dh
wait quits
send echo still $((50 + 1))\r
wait still 51
send \x1dq
END
code=$?
if [ $code -ne 5 ]; then
	echo "FAIL exit code $code, not 5"
	exit 1
fi

#!/bin/sh
# The PC's own devices under Debian's kernel: clock and alarm, PM timer, keyboard, power button; and a
# virtio console beside the serial port.
# usage: chips.sh CASULO ENGINE EXPECT
set -u
casulo=$1 engine=$2 expect=$3
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
"$(dirname "$0")/prepare" "$dir" || exit $?

"$expect" 250 "$casulo" boot --engine "$engine" --net none --kernel "$dir/vmlinuz" \
	--initrd "$dir/initrd" --device "virtio-console=file=$dir/hvc" \
	--append "console=ttyS0 quiet panic=-1 run=/job/chips now=$(date +%s) hvc=text-$$" <<'END'
wait waiting for the power button
send \x1dp
wait ok power button
wait job ended with 0
END
code=$?
if [ $code -ne 0 ]; then
	echo "FAIL exit code $code, not 0"
	exit 1
fi
if [ "$(tr -d '\r' <"$dir/hvc")" != "text-$$" ]; then
	echo "FAIL the virtio console has '$(cat "$dir/hvc")', not 'text-$$'"
	exit 1
fi

#!/bin/sh
# SeaBIOS as Debian packages it (seabios): reaches its boot menu, which a key chooses a virtio disk from; the
# disk's boot sector runs and reads the next one through the firmware.
# usage: seabios.sh CASULO KERNELS [ENGINE]
set -u
casulo=$1 kernels=$2 engine=${3-soft}
bios=/usr/share/seabios/bios-256k.bin
if [ ! -r $bios ]; then
	echo "no $bios: apt install seabios"
	exit 77
fi
if [ "$engine" = kvm ] && ! (exec 3<>/dev/kvm) 2>/dev/null; then
	echo "needs /dev/kvm"
	exit 77
fi
dir=$(mktemp -d) || exit 1
pid=
trap 'kill $pid 2>/dev/null; rm -rf "$dir"' EXIT

fail() {
	echo "FAIL $1"
	echo "serial:"
	sed 's/^/  /' "$dir/serial"
	echo "debug console:"
	tail -n 40 "$dir/debug" | sed 's/^/  /'
	sed 's/^/  /' "$dir/err"
	exit 1
}

# expect TEXT: on the serial port, within 30 seconds.
expect() {
	n=0
	until grep -aq "$1" "$dir/serial"; do
		n=$((n + 1))
		kill -0 $pid 2>/dev/null && [ $n -lt 300 ] || fail "'$1' does not come"
		sleep 0.1
	done
	echo "ok   $1"
}

# Padded to a size that a disk may have.
cp "$kernels/mbr.bin" "$dir/disk" && truncate -s 1M "$dir/disk" || exit 1
mkfifo "$dir/keys"
: >"$dir/serial"
"$casulo" boot --engine "$engine" --bios $bios --disk "$dir/disk" --memory 64M --cpus 2 --net none \
	--device isa-debug-exit --debugcon "file=$dir/debug" --timeout 100 \
	<"$dir/keys" >"$dir/serial" 2>"$dir/err" &
pid=$!
exec 3>"$dir/keys"

expect "Press ESC for boot menu"
printf '\033' >&3
expect "Select boot device"
expect "1. Virtio disk"
printf '1' >&3
wait $pid
code=$?

# check FILE PATTERN: what else has to be there at the end.
check() {
	grep -aq "$2" "$dir/$1" || fail "no '$2' in $1"
	echo "ok   $2"
}
# The firmware's console may send a line's end late, in the middle of what the boot sector prints.
tr -d '\r\n' <"$dir/serial" >"$dir/text"
check text "boot sector: read by the firmware"
check debug "Found 2 cpu(s)"
check debug "table(50434146)=.*(via xsdt)" # the FADT: our ACPI tables are where they should be
[ $code -eq 33 ] || fail "exit code $code, not 33"

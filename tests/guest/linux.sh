#!/bin/sh
# Debian's stock kernel in a virtual machine: boots to a shell and uses every device.
# usage: linux.sh CASULO ENGINE CPUS     whole job, ends by power-off
#        linux.sh CASULO ENGINE reboot   the guest asks for a reset
#        linux.sh CASULO ENGINE panic    the guest's kernel panics and resets
set -u
casulo=$1 engine=$2 what=$3
here=$(cd "$(dirname "$0")" && pwd)
tools=$here/../../tools/guest
dir=$(mktemp -d) || exit 1
server=
trap '[ -z "$server" ] || kill "$server"; rm -rf "$dir"' EXIT
kernel=$("$tools/kernel") || {
	echo "Debian's kernel cannot be downloaded"
	exit 77
}

mkdir -p "$dir/tree/job"
[ "$what" = reboot ] || [ "$what" = panic ] || cp "$here/linux/run" "$dir/tree/job/"
"$tools/initrd" "$dir/initrd" "virtio_pci virtio_blk virtio_net virtio_console virtio-rng" "$dir/tree" || exit 1

# boot WORDS OPTION...: the console in $dir/out, what casulo says in $dir/err.
boot() {
	words=$1
	shift
	"$casulo" boot --engine "$engine" --timeout 240 --kernel "$kernel/vmlinuz" --initrd "$dir/initrd" \
		--append "console=ttyS0 quiet panic=-1 $words" "$@" </dev/null >"$dir/out" 2>"$dir/err"
	code=$?
}

# expect CODE: the exit code, or the end of the test.
expect() {
	[ $code -eq "$1" ] && return
	echo "FAIL exit code $code, not $1"
	show
	exit 1
}

show() {
	sed 's/^/  out: /' "$dir/out"
	sed 's/^/  err: /' "$dir/err"
}

case $what in
reboot)
	boot "run=true end=reboot" --net none
	expect 3
	;;
panic)
	boot 'run="echo c >/proc/sysrq-trigger"' --net none
	expect 3
	;;
*)
	mkdir "$dir/www"
	dd if=/dev/urandom of="$dir/www/data" bs=64k count=80 2>/dev/null
	dd if=/dev/zero of="$dir/second" bs=64k count=64 2>/dev/null
	sum=$(md5sum <"$dir/www/data" | cut -d ' ' -f 1)
	busybox=$("$tools/package" busybox-static)/bin/busybox
	port=$((20000 + $$ % 20000))
	"$busybox" httpd -f -p "127.0.0.1:$port" -h "$dir/www" &
	server=$!
	boot "cpus=$what sum=$sum port=$port want_clock=kvm-clock" --cpus "$what" \
		--disk "$dir/www/data,readonly" --disk "$dir/second"
	expect 0
	if grep -q FAIL "$dir/out" || ! grep -q 'job ended with 0' "$dir/out"; then
		show
		exit 1
	fi
	written=$(tr -d '\r' <"$dir/out" | sed -n 's/^written: //p')
	if [ "$written" != "$(md5sum <"$dir/second" | cut -d ' ' -f 1)" ]; then
		echo "FAIL the second disk holds something else than the guest wrote"
		exit 1
	fi
	;;
esac
cat "$dir/out" "$dir/err"

#!/bin/sh
# Debian's stock kernel in a virtual machine: boots to user space and uses every device.
# usage: linux.sh CASULO ENGINE CPUS     jobs/linux, ends by power-off
#        linux.sh CASULO ENGINE reboot   the guest asks for a reset
#        linux.sh CASULO ENGINE panic    the guest's kernel panics and resets
# $GUEST is a folder made by prepare; without it we make one.
set -u
casulo=$1 engine=$2 what=$3
dir=$(mktemp -d) || exit 1
server=
trap '[ -z "$server" ] || kill "$server"; rm -rf "$dir"' EXIT
guest=${GUEST-$dir/guest}
[ -n "${GUEST-}" ] || "$(dirname "$0")/prepare" "$guest" || exit $?

# boot WORDS OPTION...: the console in $dir/out, what casulo says in $dir/err.
boot() {
	words=$1
	shift
	"$casulo" boot --engine "$engine" --timeout 240 --kernel "$guest/vmlinuz" --initrd "$guest/initrd" \
		--append "console=ttyS0 quiet panic=-1 $words" "$@" </dev/null >"$dir/out" 2>"$dir/err"
	code=$?
}

fail() {
	echo "FAIL $*"
	sed 's/^/  out: /' "$dir/out"
	sed 's/^/  err: /' "$dir/err"
	exit 1
}

sum_of() {
	md5sum | cut -d ' ' -f 1
}

case $what in
reboot)
	boot "run=true end=reboot" --net none
	[ $code -eq 3 ] || fail "exit code $code, not 3"
	;;
panic)
	boot 'run="echo c >/proc/sysrq-trigger"' --net none
	[ $code -eq 3 ] || fail "exit code $code, not 3"
	;;
*)
	mkdir "$dir/www"
	dd if=/dev/urandom of="$dir/www/data" bs=64k count=80 2>/dev/null
	dd if=/dev/zero of="$dir/second" bs=64k count=64 2>/dev/null
	sum=$(sum_of <"$dir/www/data")
	port=$((20000 + $$ % 20000))
	"$guest/busybox" httpd -f -p "127.0.0.1:$port" -h "$dir/www" &
	server=$!
	boot "run=/job/linux cpus=$what sum=$sum port=$port want_clock=kvm-clock" --cpus "$what" \
		--disk "$dir/www/data,readonly" --disk "$dir/second"
	[ $code -eq 0 ] || fail "exit code $code, not 0"
	grep -q 'job ended with 0' "$dir/out" || fail "the job in the guest"
	written=$(tr -d '\r' <"$dir/out" | sed -n 's/^written: //p')
	[ "$written" = "$(sum_of <"$dir/second")" ] || fail "the second disk isn't what the guest wrote"
	;;
esac
cat "$dir/out" "$dir/err"

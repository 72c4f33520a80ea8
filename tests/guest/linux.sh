#!/bin/sh
# Debian's stock kernel in a virtual machine.
# usage: linux.sh CASULO ENGINE TEST; TEST is a number of processors (boots to user space, uses every
# device, powers off), or one of the functions test_* below.
# $GUEST is a folder made by prepare; without it we make one.
set -u
casulo=$1 engine=$2 what=$3
dir=$(mktemp -d) || exit 1
server= more=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null; rm -rf "$dir"' EXIT
guest=${GUEST-$dir/guest}
[ -n "${GUEST-}" ] || "$(dirname "$0")/prepare" "$guest" || exit $?

# boot WORDS OPTION...: the console in $dir/out, what casulo says in $dir/err.
boot() {
	words=$1
	shift
	# shellcheck disable=SC2086 # a list of words
	"$casulo" boot --engine "$engine" $more --timeout 240 --kernel "$guest/vmlinuz" --initrd "$guest/initrd" \
		--append "console=ttyS0 quiet panic=-1 $words" "$@" </dev/null >"$dir/out" 2>"$dir/err"
	code=$?
}

fail() {
	echo "FAIL $*"
	for f in out err; do
		[ ! -f "$dir/$f" ] || sed "s/^/  $f: /" "$dir/$f"
	done
	exit 1
}

# ended CODE: casulo's exit code, and the job's where the guest ended by itself.
ended() {
	[ $code -eq "$1" ] || fail "exit code $code, not $1"
	[ "$1" -ne 0 ] || grep -q 'job ended with 0' "$dir/out" || fail "the job in the guest"
}

# until_true SECONDS COMMAND...
until_true() {
	n=$(($1 * 4))
	shift
	until "$@"; do
		n=$((n - 1))
		[ $n -gt 0 ] || fail "waited in vain for: $*"
		sleep 0.25
	done
}

sum_of() {
	md5sum | cut -d ' ' -f 1
}

# Disks, network, entropy, consoles, clocks, and work with $1 processors.
test_devices() {
	mkdir "$dir/www"
	dd if=/dev/urandom of="$dir/www/data" bs=64k count=80 2>/dev/null
	dd if=/dev/zero of="$dir/second" bs=64k count=64 2>/dev/null
	sum=$(sum_of <"$dir/www/data")
	result=$(PATH=$guest:$PATH TMPDIR=$dir sh "$guest/work")
	port=$((20000 + $$ % 20000))
	"$guest/busybox" httpd -f -p "127.0.0.1:$port" -h "$dir/www" &
	server=$!
	boot "run=/job/linux cpus=$1 sum=$sum result=$result port=$port want_clock=kvm-clock" --cpus "$1" \
		--disk "$dir/www/data,readonly" --disk "$dir/second" \
		--device "virtio-console=file=$dir/console"
	ended 0
	written=$(tr -d '\r' <"$dir/out" | sed -n 's/^written: //p')
	[ "$written" = "$(sum_of <"$dir/second")" ] || fail "the second disk isn't what the guest wrote"
	grep -q 'the second console' "$dir/console" || fail "the second console printed something else"
}

# The software engine without its translator.
test_interpret() {
	more=--interpret
	test_devices 1
}

# The guest asks for a reset.
test_reboot() {
	boot "run=true end=reboot" --net none
	ended 3
}

# The guest's kernel panics, and resets by panic=-1.
test_panic() {
	boot 'run="echo c >/proc/sysrq-trigger"' --net none
	ended 3
}

# The kernel unpacks itself, to a random place.
test_unpack() {
	boot "run=true" --net none --no-unpack
	ended 0
}

# Memory below and above the hole for devices.
test_memory() {
	boot "run=/job/memory least=4900000" --net none --memory 5G
	ended 0
}

# A shell on a pseudo terminal.
test_pty() {
	boot "" --net none --console pty &
	until_true 20 grep -q 'console is' "$dir/err"
	pty=$(sed -n 's/^casulo: console is //p' "$dir/err")
	cat "$pty" >"$dir/seen" &
	server=$!
	until_true 200 grep -q '~ #' "$dir/seen"
	printf 'echo answer $((6 * 7))\r' >"$pty"
	until_true 20 grep -q 'answer 42' "$dir/seen"
	printf 'exit\r' >"$pty"
	until_true 60 grep -q 'the guest powered off' "$dir/err"
	wait %1
}

# A tap interface in a network namespace of its own: each side reaches the other.
test_tap() {
	if [ "$(id -u)" -ne 0 ] || [ ! -c /dev/net/tun ]; then
		echo "needs root and /dev/net/tun"
		exit 77
	fi
	if [ -z "${IN_NAMESPACE-}" ]; then
		IN_NAMESPACE=1 GUEST=$guest unshare -n "$0" "$casulo" "$engine" tap
		exit $?
	fi
	"$guest/busybox" tunctl -t tap0 >/dev/null && "$guest/busybox" ip addr add 10.9.0.1/24 dev tap0 &&
		"$guest/busybox" ip link set tap0 up || fail "no tap interface"
	boot "run=/job/ping ip=10.9.0.2 to=10.9.0.1" --net tap=tap0 &
	until_true 200 grep -q 'guest: reached' "$dir/out"
	"$guest/busybox" ping -c 30 -i 0.1 10.9.0.2 >"$dir/ping" || fail "$(tail -n 2 "$dir/ping")"
	until_true 60 grep -q 'the guest powered off' "$dir/err"
	grep -q 'job ended with 0' "$dir/out" || fail "the job in the guest"
}

case $what in
[0-9]*) test_devices "$what" ;;
*) "test_$what" ;;
esac
cat "$dir/out" "$dir/err"

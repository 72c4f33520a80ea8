#!/bin/sh
# Xen, a Multiboot kernel that comes from real mode and runs Debian's kernel in ring 3: its first guest
# (dom0) reaches user space and asks for a reset.
# It has no console but the kernel's log, by a hypercall.
# usage: xen.sh CASULO ENGINE
set -u
casulo=$1 engine=$2
here=$(dirname "$0")
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
guest=${GUEST-$dir/guest}
[ -n "${GUEST-}" ] || "$here/prepare" "$guest" || exit $?
xen=$("$here/../../tools/guest/package" xen-hypervisor-4.17-amd64) || {
	echo "Debian's Xen cannot be downloaded"
	exit 77
}
gzip -dc "$xen"/boot/xen-*.gz >"$dir/xen" || exit 1

"$casulo" boot --engine "$engine" --net none --memory 1G --timeout 240 --kernel "$dir/xen" \
	--append "console=com1 com1=115200,8n1" \
	--module "$guest/vmlinuz earlyprintk=xen run=\"cat /sys/hypervisor/type >/dev/kmsg\" end=reboot" \
	--module "$guest/initrd" </dev/null >"$dir/out" 2>"$dir/err"
code=$?
if [ $code -ne 3 ] || ! tr -d '\r' <"$dir/out" | grep -aq '\] xen$'; then
	echo "FAIL exit code $code"
	tail -n 60 "$dir/out" | sed 's/^/  out: /'
	sed 's/^/  err: /' "$dir/err"
	exit 1
fi
grep -a 'Xen version\|Run /init' "$dir/out"
cat "$dir/err"

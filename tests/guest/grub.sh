#!/bin/sh
# A PC from its disks: SeaBIOS loads GRUB from the first one, GRUB loads Debian's kernel from the second.
# usage: grub.sh CASULO ENGINE
set -u
casulo=$1 engine=$2 cpus=2
bios=/usr/share/seabios/bios-256k.bin
here=$(dirname "$0")
PATH=$PATH:/usr/sbin:/sbin
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT

skip() {
	echo "$1"
	exit 77
}
fail() {
	echo "FAIL $1"
	for f in out debug err; do
		sed "s/^/  $f: /" "$dir/$f"
	done
	exit 1
}
[ -r $bios ] || skip "no $bios: apt install seabios"
"$here/prepare" "$dir" || exit $?
modules=$("$here/../../tools/guest/package" grub-pc-bin)/usr/lib/grub/i386-pc &&
	mkimage=$("$here/../../tools/guest/package" grub-common)/usr/bin/grub-mkimage ||
	skip "Debian's GRUB cannot be downloaded"
"$mkimage" --version >/dev/null 2>&1 || skip "grub-mkimage does not run: apt install grub-common"

# The boot sector, and what it loads behind it; then a file system that fills the second disk.
cat >"$dir/grub.cfg" <<END
serial --unit=0
terminal_output serial
linux (hd1)/vmlinuz console=ttyS0 quiet panic=-1 run=/job/firmware cpus=$cpus
initrd (hd1)/initrd
boot
END
"$mkimage" -d "$modules" -O i386-pc -p '(hd1)/' -c "$dir/grub.cfg" -o "$dir/core" \
	biosdisk ext2 linux serial terminal || exit 1
cat "$modules/boot.img" "$dir/core" >"$dir/disk0" && truncate -s 4M "$dir/disk0" || exit 1
mkdir "$dir/tree" && mv "$dir/vmlinuz" "$dir/initrd" "$dir/tree/" && truncate -s 64M "$dir/disk1" &&
	mke2fs -q -d "$dir/tree" "$dir/disk1" || exit 1

"$casulo" boot --engine "$engine" --bios $bios --disk "$dir/disk0" --disk "$dir/disk1,readonly" --net none \
	--cpus $cpus --memory 4G --debugcon "file=$dir/debug" --timeout 240 \
	</dev/null >"$dir/out" 2>"$dir/err"
code=$?
[ $code -eq 0 ] || fail "exit code $code, not 0"
grep -aq 'job ended with 0' "$dir/out" || fail "the job in the guest"
cat "$dir/out" "$dir/err"

#!/bin/sh
# Bad input: each ends with one line that names the thing and the remedy, and the right exit code.
# usage: bad-input.sh CASULO KERNELS
set -u
casulo=$1 kernels=$2
dir=$(mktemp -d) || exit 1
trap 'chmod -R u+rw "$dir"; rm -rf "$dir"' EXIT
failed=0

# check EXIT-CODE PATTERN ARGUMENT...
check() {
	code=$1 pattern=$2
	shift 2
	"$casulo" "$@" </dev/null >"$dir/out" 2>"$dir/err"
	got=$?
	if [ $got -ne "$code" ] || [ "$(wc -l <"$dir/err")" -ne 1 ] || ! grep -q -- "$pattern" "$dir/err"; then
		echo "FAIL casulo $*: exit code $got (not $code), wanted '$pattern':"
		sed 's/^/  /' "$dir/err"
		failed=1
	fi
}

# try EXIT-CODE PATTERN ARGUMENT...: boot on the software engine, without its lines on engine and times.
try() {
	code=$1 pattern=$2
	shift 2
	check "$code" "$pattern" boot --engine soft --console none --net none --quiet "$@"
}

kernel=$kernels/pvh.elf
check 2 "unknown command 'bot': did you mean 'boot'" bot
try 2 "unknown option '--kernal': did you mean '--kernel'" --kernal x
try 2 "unexpected argument 'vmlinuz'" vmlinuz
try 2 "option '--kernel' needs a value" --kernel
try 2 "takes no value" --kernel "$kernel" --dry-run=yes
try 2 "nothing to boot"
try 2 "--cpus" --kernel "$kernel" --cpus 0
try 2 "--cpus" --kernel "$kernel" --cpus many
try 2 "--memory" --kernel "$kernel" --memory 512
try 2 "too little memory" --kernel "$kernel" --memory 1M
try 2 "unknown engine 'warp'" --kernel "$kernel" --engine warp
try 2 "unknown network" --kernel "$kernel" --net carrier-pigeon
try 2 "unknown console" --kernel "$kernel" --console teletype
try 2 "unknown disk format 'vhs'" --kernel "$kernel" --disk "$kernel,format=vhs"
try 2 "unknown device" --kernel "$kernel" --device toaster
try 2 "unknown console 'teletype'" --kernel "$kernel" --device virtio-console=teletype
try 2 "two consoles want stdio" --kernel "$kernel" --console stdio --device virtio-console=stdio

try 1 "cannot open kernel '$dir/none'.*--kernel" --kernel "$dir/none"
try 1 "is a directory" --kernel "$dir"
: >"$dir/empty"
try 1 "is empty" --kernel "$dir/empty"
echo text >"$dir/text"
try 1 "not a kernel: '$dir/text'" --kernel "$dir/text"
gzip -c "$kernel" >"$dir/packed"
try 1 "gzip data: unpack it" --kernel "$dir/packed"
head -c 600 "$kernel" >"$dir/cut"
try 1 "truncated" --kernel "$dir/cut"
try 1 "cannot open initial RAM disk '$dir/none'.*--initrd" --kernel "$kernel" --initrd "$dir/none"
try 1 "$dir/none" --kernel "$kernel" --disk "$dir/none"
try 1 "$dir" --kernel "$kernel" --disk "$dir"
try 1 "cannot write console file '$dir/none/x'" --kernel "$kernel" --device "virtio-console=file=$dir/none/x"
try 1 "cannot write console file '$dir/none/x'" --kernel "$kernel" --debugcon "file=$dir/none/x"
try 1 "not a firmware image" --bios "$dir/text"
if [ "$(id -u)" -ne 0 ]; then
	cp "$kernel" "$dir/secret"
	chmod 0 "$dir/secret"
	try 1 "permission denied" --kernel "$dir/secret"
fi
exit $failed

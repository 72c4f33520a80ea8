#!/bin/sh
# Debian's kernel under stress: compilers, programs that were just made, processes, files, while the
# kernel patches itself.  Programs print what they print on the host.
# usage: stress.sh CASULO ENGINE CPUS
set -u
casulo=$1 engine=$2 cpus=$3
here=$(cd "$(dirname "$0")" && pwd)
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
guest=${GUEST-$dir/guest}
[ -n "${GUEST-}" ] || "$here/prepare" "$guest" || exit $?

tree=$dir/tree/stress
mkdir -p "$tree/bin" "$tree/lib" "$tree/data" "$dir/tree/mnt"
for p in cpp-12 binutils-x86-64-linux-gnu luajit libc6 libgmp10 libisl23 libmpc3 libmpfr6 libzstd1 zlib1g \
	libbinutils libctf0 libctf-nobfd0 libjansson4 libluajit-5.1-2 libgcc-s1; do
	root=$("$here/../../tools/guest/package" "$p") || {
		echo "Debian's package $p cannot be downloaded"
		exit 77
	}
	find "$root" -name 'l*.so*' ! -name '*.py' ! -type d -exec cp -L {} "$tree/lib/" \;
	for name in cc1 luajit x86_64-linux-gnu-as x86_64-linux-gnu-ld.bfd; do
		find "$root" -type f -name "$name" -perm -u+x -exec cp {} "$tree/bin/" \;
	done
done
mv "$tree/bin/x86_64-linux-gnu-as" "$tree/bin/as"
mv "$tree/bin/x86_64-linux-gnu-ld.bfd" "$tree/bin/ld"
cp "$here"/stress/*.sh "$tree/"
cp "$here"/stress/*.c "$tree/data/"
result=$(sh "$tree/programs.sh" "$tree" 2>&1 | tee "$dir/native" | md5sum | cut -d ' ' -f 1)
[ "$(grep -c 'ended with 7' "$dir/native")" = 2 ] || {
	cat "$dir/native"
	echo "the programs do not run on this host"
	exit 77
}

cp "$guest/initrd" "$dir/initrd"
(cd "$dir/tree" && find . | cpio -o -H newc -R 0:0 --quiet) >>"$dir/initrd"
truncate -s 64M "$dir/disk"
"$casulo" boot --engine "$engine" --timeout 240 --net none --cpus "$cpus" --memory 1G \
	--kernel "$guest/vmlinuz" --initrd "$dir/initrd" --disk "$dir/disk" \
	--append "console=ttyS0 quiet panic=-1 run=\"sh /stress/job.sh\" cpus=$cpus result=$result" \
	</dev/null >"$dir/out" 2>"$dir/err"
code=$?
tr -d '\r' <"$dir/out"
cat "$dir/err"
if [ $code -ne 0 ] || ! grep -q 'job ended with 0' "$dir/out"; then
	echo "FAIL exit code $code; on the host:"
	cat "$dir/native"
	exit 1
fi

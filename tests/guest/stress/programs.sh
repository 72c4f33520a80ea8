#!/bin/sh
# Programs that make code and run it; what they print is the same wherever they run.  The folder given has
# bin and lib of Debian's packages.
cd "$1" || exit 1
made=$(mktemp -d) || exit 1
trap 'rm -rf "$made"' EXIT

# run PROGRAM ARGUMENT...
run() {
	program=$1
	shift
	lib/ld-linux-x86-64.so.2 --library-path lib "bin/$program" "$@"
}

# A compiler, an assembler, a linker, and what they made, for 64 bits and for 32.
for bits in 64 32; do
	run cc1 -quiet -O2 -m$bits -ffreestanding -fno-pic -fno-stack-protector "data/sum$bits.c" -o "$made/s" &&
		run as --$bits "$made/s" -o "$made/o" &&
		if [ $bits = 64 ]; then emulation=elf_x86_64; else emulation=elf_i386; fi &&
		run ld -m $emulation "$made/o" -o "$made/sum" && "$made/sum"
	echo "ended with $?"
done

# A compiler that works while the program runs.
for n in 1 2 3; do
	run luajit -e "
		local a, s = {}, $n
		for i = 1, 300000 do
			s = (s * 1103515245 + 12345) % 2147483648
			a[i % 1000 + 1] = (a[i % 1000 + 1] or 0) + s % 7
		end
		local t = 0
		for i = 1, 1000 do t = t + a[i] * i end
		print(t)" &
	wait $!
done

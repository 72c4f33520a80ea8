#!/bin/sh
# Without --engine the engine is chosen by what `casulo doctor` measures: kvm where it works, otherwise
# soft, with the reason.
# usage: auto.sh CASULO KERNELS
set -u
casulo=$1 kernel=$2/pvh.elf
doctor=$("$casulo" doctor) || exit 1
plan=$("$casulo" boot --dry-run --kernel "$kernel") || exit 1
engine=$(printf '%s\n' "$plan" | sed -n 's/^engine  *\([a-z]*\) (.*/\1/p')
reason=$(printf '%s\n' "$plan" | sed -n 's/^engine  *[a-z]* (\(.*\))$/\1/p')
if printf '%s\n' "$doctor" | grep -q '^  kvm  *works'; then
	want=kvm why='hardware virtualization'
else
	want=soft why='not kvm: '
fi
echo "chosen: $engine, because: $reason"
[ "$engine" = $want ] || {
	echo "FAIL not $want"
	exit 1
}
case $reason in
*"$why"*) ;;
*)
	echo "FAIL no reason of the kind '$why'"
	exit 1
	;;
esac

#!/bin/sh
# The job inside the guest: everything at once on $cpus processors.  $result is the checksum of what
# programs.sh prints on the host.
failed=0
# is NAME GOT WANTED
is() {
	if [ "$2" = "$3" ]; then
		echo "ok $1"
	else
		echo "FAIL $1: '$2', not '$3'"
		failed=1
	fi
}

# While others work: code of the kernel is patched to and fro, modules come and go.
mount -t tracefs t /sys/kernel/tracing
(
	cd /sys/kernel/tracing || exit 1
	n=0
	while [ ! -e /tmp/stop ]; do
		echo function >current_tracer
		echo 'p:opens do_sys_openat2' >kprobe_events && echo 1 >events/kprobes/enable
		cat /etc/passwd >/dev/null
		awk '{ print $2 }' kprobe_profile >/tmp/traced
		echo 0 >events/kprobes/enable
		echo >kprobe_events
		echo nop >current_tracer
		rmmod evdev && insmod /lib/modules/*-evdev.ko
		n=$((n + 1))
		sleep 0.2
	done
	echo $n >/tmp/patched
) &
patches=$!

# Processes, pipes and signals.
storm() {
	n=0
	while [ $n -lt 30 ]; do
		/bin/busybox true
		sleep 100 &
		kill $!
		wait $! 2>/dev/null
		n=$((n + $(echo one two | wc -l)))
	done
	echo $n >"/tmp/storm$1"
}
i=0
while [ $i -lt "$cpus" ]; do
	storm $i &
	storms="$storms $!"
	sh /stress/programs.sh /stress >/tmp/programs$i 2>&1 &
	storms="$storms $!"
	i=$((i + 1))
done

# A file system on a disk.
mke2fs /dev/vda >/dev/null && mount -t ext2 /dev/vda /mnt
dd if=/dev/urandom of=/tmp/data bs=64k count=32 2>/dev/null
i=0
while [ $i -lt 8 ]; do
	cp /tmp/data "/mnt/copy$i"
	i=$((i + 1))
done
sync
echo 3 >/proc/sys/vm/drop_caches
is "files" "$(md5sum </tmp/data) 1" "$(md5sum </mnt/copy0) $(md5sum /mnt/copy* | cut -d ' ' -f 1 | sort -u | wc -l)"

wait $storms
echo >/tmp/stop
wait $patches
is "storms" "$(cat /tmp/storm* | sort -u)" 30
i=0
while [ $i -lt "$cpus" ]; do
	is "programs" "$(md5sum </tmp/programs$i | cut -d ' ' -f 1)" "$result"
	i=$((i + 1))
done
[ "$result" = "$(md5sum </tmp/programs0 | cut -d ' ' -f 1)" ] || cat /tmp/programs0
[ "$(cat /tmp/traced)" -gt 0 ] || is "the probe" "$(cat /tmp/traced)" "something"
echo "patched $(cat /tmp/patched) times"
if dmesg | grep -q 'BUG\|Oops\|WARNING\|segfault\|traps:'; then
	dmesg | tail -n 40
	is "kernel's log" "as above" "without complaints"
fi
exit $failed

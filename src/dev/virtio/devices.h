/*
 * The virtio devices.  Each takes over its back end, which must run on the machine's lane (chr: on
 * the main loop); on failure the back end stays the caller's.  slot: 1..30, 0: the next free one.
 * name is unique in the machine ("virtio-blk0").
 */
#ifndef DEV_VIRTIO_DEVICES_H
#define DEV_VIRTIO_DEVICES_H

#include "backend/blk.h"
#include "backend/chr.h"
#include "backend/net.h"
#include "dev/pci/pci.h"

/* serial: at most 20 characters, what the guest sees as the disk's name; NULL: none. */
int virtio_blk_new(struct pci_host *h, unsigned slot, const char *name, struct blk *blk,
                   const char *serial, struct err *e) MUST_CHECK;
int virtio_net_new(struct pci_host *h, unsigned slot, const char *name, struct net *net,
                   const uint8_t mac[6], struct err *e) MUST_CHECK;
/* One port.  cols, rows: the terminal's size, 0: unknown. */
int virtio_console_new(struct pci_host *h, unsigned slot, const char *name, struct chr *chr,
                       uint16_t cols, uint16_t rows, struct err *e) MUST_CHECK;
int virtio_rng_new(struct pci_host *h, unsigned slot, const char *name, struct err *e) MUST_CHECK;

#endif

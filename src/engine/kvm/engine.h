/* The KVM engine: the processor's own virtualization, by Linux's /dev/kvm. */
#ifndef ENGINE_KVM_ENGINE_H
#define ENGINE_KVM_ENGINE_H

#include "machine/engine.h"

extern const struct engine engine_kvm;

#endif

/*
 * A small builder of ACPI Machine Language (ACPI specification 6.4, chapter 20): named values,
 * devices and resource templates, enough to describe this machine.  Blocks nest: aml_scope,
 * aml_device and aml_package open one, aml_end closes it and fills in its length.
 */
#ifndef DEV_FIRMWARE_AML_H
#define DEV_FIRMWARE_AML_H

#include "dev/firmware/blob.h"

#define AML_DEPTH_MAX 8

struct aml {
	struct blob *out;
	size_t open[AML_DEPTH_MAX]; /* where a block's length will be put in */
	unsigned depth;
};

/* path: segments of at most 4 characters, with '\\' in front and '.' between where wanted. */
void aml_scope(struct aml *a, const char *path);
void aml_device(struct aml *a, const char *name);
/* name, then a package with n elements, which the caller adds. */
void aml_name_package(struct aml *a, const char *name, uint8_t n);
void aml_package(struct aml *a, uint8_t n);
void aml_end(struct aml *a);

void aml_int(struct aml *a, uint64_t v);
void aml_name_int(struct aml *a, const char *name, uint64_t v);
void aml_name_str(struct aml *a, const char *name, const char *s);
/* id: "PNP0A08", compressed (19.3.4). */
void aml_name_eisa(struct aml *a, const char *name, const char *id);
/* A resource template from descriptors below; the end tag is added. */
void aml_name_resources(struct aml *a, const char *name, const struct blob *res);

/* Resource descriptors (6.4); ranges are fixed and decoded positively. */
void res_io(struct blob *r, uint16_t base, uint8_t len);
void res_irq(struct blob *r, unsigned irq);
void res_memory(struct blob *r, uint32_t base, uint32_t len);
void res_bus_window(struct blob *r, uint16_t first, uint16_t last);
void res_io_window(struct blob *r, uint16_t first, uint16_t last);
void res_memory_window(struct blob *r, uint64_t first, uint64_t last);

#endif

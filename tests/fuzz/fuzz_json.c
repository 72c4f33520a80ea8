/* Any text as JSON: refused, or printed and read again without a difference. */
#include <string.h>

#include "base/json.h"
#include "input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct json *j = json_parse((const char *)data, size, NULL), *again;
	char *text, *second;

	if (j == NULL)
		return 0;
	text = json_print(j, false);
	again = json_parse(text, strlen(text), NULL);
	if (again == NULL)
		abort();
	second = json_print(again, false);
	if (strcmp(text, second) != 0)
		abort();
	free(text);
	free(second);
	json_free(again);
	json_free(j);
	return 0;
}

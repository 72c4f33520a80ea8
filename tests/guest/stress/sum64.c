/* A 64-bit program without a library: sorts, sums, prints in hexadecimal, ends with 7. */
static unsigned a[4096];

void _start(void)
{
	static char text[12];
	unsigned s = 1, h = 0;
	long n;

	for (unsigned i = 0; i < 4096; i++)
		a[i] = s = s * 1664525 + 1013904223;
	for (unsigned gap = 2048; gap > 0; gap /= 2)
		for (unsigned i = gap; i < 4096; i++)
			for (unsigned j = i; j >= gap && a[j - gap] > a[j]; j -= gap) {
				unsigned t = a[j];

				a[j] = a[j - gap];
				a[j - gap] = t;
			}
	for (unsigned i = 0; i < 4096; i++)
		h = (h ^ a[i]) * 16777619;
	for (unsigned i = 0; i < 10; i++)
		text[i] = "0123456789abcdef"[h >> (i * 3) & 15];
	text[10] = '\n';
	__asm__ volatile("syscall"
	                 : "=a"(n)
	                 : "0"(1l), "D"(1l), "S"(text), "d"(11l)
	                 : "rcx", "r11", "memory");
	__asm__ volatile("syscall" : : "a"(60l), "D"(7l));
	__builtin_unreachable();
}

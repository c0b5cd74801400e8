/* Whether this process may use Intel's Advanced Matrix Extensions. */
#if defined(__x86_64__)
#define _GNU_SOURCE
#include <cpuid.h>
#include <stddef.h>
#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "amx_tiles.h"

#if defined(LPB_AMX_MODEL)
static bool permitted(void) { return true; }
#elif defined(__linux__)
enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 }; /* ARCH_REQ_XCOMP_PERM, arch_prctl(2); the number of its state */

/* Intel 64 and IA-32 Architectures Software Developer's Manual, CPUID and XGETBV. */
static bool permitted(void) {
    const unsigned bits = 1u << 22 | 1u << 24 | 1u << 25, states = 3u << 17, saves = 1u << 27;
    unsigned a, b, c, d, low, high;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & bits) != bits) return false;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & saves)) return false;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    if ((low & states) != states) return false;
    return syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
}
#else
static bool permitted(void) { return false; }
#endif

bool lpb_amx_supported(void) {
    static int known; /* 0: not yet, 1: no, 2: yes; several threads find the same */
    int answer = __atomic_load_n(&known, __ATOMIC_RELAXED);
    if (!answer) {
        answer = permitted() ? 2 : 1;
        __atomic_store_n(&known, answer, __ATOMIC_RELAXED);
    }
    return answer == 2;
}
#else
typedef int lpb_no_amx;
#endif

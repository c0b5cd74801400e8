/* VSX as POWER8 has it: the baseline of every little-endian Power system. */
#if defined(__powerpc64__) && defined(__LITTLE_ENDIAN__)
#pragma GCC target("cpu=power8")
#define T(name) lpb_isa_vsx8_##name
#define VSX_NAME "vsx-power8"
#define VSX_SUPPORTED __builtin_cpu_supports("vsx")
#include "vsx_table.h"
#else
typedef int lpb_no_vsx8;
#endif

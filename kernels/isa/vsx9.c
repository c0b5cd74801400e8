/* VSX as POWER9 has it: little-endian loads, loads that broadcast, loads and stores with a length. */
#if defined(__powerpc64__) && defined(__LITTLE_ENDIAN__)
#pragma GCC target("cpu=power9")
#define T(name) lpb_isa_vsx9_##name
#define VSX_NAME "vsx-power9"
#define VSX_SUPPORTED __builtin_cpu_supports("arch_3_00")
#include "vsx_table.h"
#else
typedef int lpb_no_vsx9;
#endif

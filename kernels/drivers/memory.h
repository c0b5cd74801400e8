/* Memory of the drivers, aligned to the widest vector; freed by free(). NULL when there is none. */
#ifndef LPARBENCH_MEMORY_H
#define LPARBENCH_MEMORY_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static inline void *lpb_new_memory(int64_t bytes) {
    void *memory = NULL;
    return posix_memalign(&memory, 64, (size_t)(bytes ? bytes : 1)) ? NULL : memory;
}

static inline float *lpb_new_zeros(int64_t count) {
    const int64_t bytes = count * (int64_t)sizeof(float);
    float *memory = lpb_new_memory(bytes);
    return memory ? memset(memory, 0, (size_t)bytes) : NULL;
}

#endif

/* Threads of this process that run parts of one job; used by the drivers only. */
#ifndef LPARBENCH_POOL_H
#define LPARBENCH_POOL_H

#include <stdint.h>

/* One contiguous part [first, last) of the job's items. */
typedef void (*lpb_part)(void *job, int64_t first, int64_t last);

/* Splits `items` into at most `threads` equal parts and runs them at the same time, the first on the calling thread.
 * Workers are started on first need and sleep between jobs. They run on the caller's CPUs, and leave it the one that it
 * is on where these are enough.
 * When threads cannot be started, or another thread's job is running, the caller does the whole job itself. */
void lpb_parallel(lpb_part part, void *job, int64_t items, int threads);

#endif

#define _POSIX_C_SOURCE 200809L
#include "crew.h"

#include <sched.h>

enum { SPINS = 20000 }; /* some microseconds, before the processor is left to others */

void lpb_crew_phase(lpb_member *m, int64_t count, lpb_task task, void *context) {
    if (!m->crew) {
        for (int64_t i = 0; i < count; i++) task(context, i);
        return;
    }
    const int64_t end = m->before + count;
    for (;;) {
        if (m->taken < 0) m->taken = __atomic_fetch_add(&m->crew->begun, 1, __ATOMIC_RELAXED);
        if (m->taken >= end) break;
        task(context, m->taken - m->before);
        m->taken = -1;
        __atomic_fetch_add(&m->crew->finished, 1, __ATOMIC_RELEASE);
    }
    for (int64_t spins = 0; __atomic_load_n(&m->crew->finished, __ATOMIC_ACQUIRE) < end; spins++)
        if (spins >= SPINS) sched_yield();
    m->before = end;
}

/* Work in phases that the threads of one job share, within a single call of lpb_parallel. */
#ifndef LPARBENCH_CREW_H
#define LPARBENCH_CREW_H

#include <stdint.h>

/* Tasks begun and finished since the job began, by all of its threads; both 0 at first. */
typedef struct {
    int64_t begun, finished;
} lpb_crew;

/* A thread of it. */
typedef struct {
    lpb_crew *crew; /* NULL: there is no other */
    int64_t before; /* tasks of the phases that are over */
    int64_t taken;  /* a task of a later phase that it has taken already, -1: none */
} lpb_member;

typedef void (*lpb_task)(void *context, int64_t index);

static inline lpb_member lpb_crew_member(lpb_crew *crew) { return (lpb_member){crew, 0, -1}; }

/* Runs tasks [0, count) together with the other members, and returns when all of them are finished. Every member goes
 * through the same phases, of the same counts. Tasks are taken in their order, so that a member waits only for tasks
 * which another one runs already: it makes no difference how many there are, or when they begin. */
void lpb_crew_phase(lpb_member *member, int64_t count, lpb_task task, void *context);

#endif

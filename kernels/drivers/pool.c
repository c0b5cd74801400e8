#define _GNU_SOURCE
#include "pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <string.h>

enum { MOST_WORKERS = 255, MOST_CPUS = 8192 };

/* A kernel for more CPUs than a `cpu_set_t` holds refuses it. */
typedef struct {
    unsigned long bits[MOST_CPUS / (8 * sizeof(unsigned long))];
} cpus;

/* One job at a time: `busy` is held by its owner for the whole job. `generation` tells workers of a new one. */
static pthread_mutex_t busy = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t start = PTHREAD_COND_INITIALIZER;
static pthread_cond_t done = PTHREAD_COND_INITIALIZER;
static pthread_once_t fork_handler = PTHREAD_ONCE_INIT;
static int workers;
static struct {
    lpb_part part;
    void *job;
    int64_t items;
    int parts;
    uint64_t generation;
    int unfinished;
    cpus cpus; /* for workers */
} task;

/* The CPUs of the calling thread, which workers follow, less the one that it runs on if enough are left: a kernel wakes
 * a thread near the one that wakes it, and where caches are not shared leaves it there, behind the caller. */
static void place_workers(void) {
    cpu_set_t *set = (cpu_set_t *)&task.cpus;
    if (pthread_getaffinity_np(pthread_self(), sizeof task.cpus, set)) {
        memset(&task.cpus, 0, sizeof task.cpus);
        return;
    }
    const int here = sched_getcpu();
    if (here >= 0 && here < MOST_CPUS && CPU_COUNT_S(sizeof task.cpus, set) >= task.parts)
        CPU_CLR_S((size_t)here, sizeof task.cpus, set);
}

static void run_part(int index) {
    const int64_t first =
        task.items / task.parts * index + (index < task.items % task.parts ? index : task.items % task.parts);
    const int64_t count = task.items / task.parts + (index < task.items % task.parts);
    if (count > 0) task.part(task.job, first, first + count);
}

static void *worker(void *argument) {
    const int index = (int)(intptr_t)argument;
    uint64_t seen = 0;
    cpus own = {{0}};
    pthread_mutex_lock(&lock);
    for (;;) {
        while (task.generation == seen || index >= task.parts) {
            seen = task.generation;
            pthread_cond_wait(&start, &lock);
        }
        seen = task.generation;
        if (memcmp(&own, &task.cpus, sizeof own)) {
            own = task.cpus;
            pthread_setaffinity_np(pthread_self(), sizeof own, (cpu_set_t *)&own);
        }
        pthread_mutex_unlock(&lock);
        run_part(index);
        pthread_mutex_lock(&lock);
        if (--task.unfinished == 0) pthread_cond_signal(&done);
    }
    return NULL;
}

/* A forked child has none of its parent's threads. */
static void forget_workers(void) {
    workers = 0;
    task.parts = 0;
    pthread_mutex_init(&busy, NULL);
    pthread_mutex_init(&lock, NULL);
    pthread_cond_init(&start, NULL);
    pthread_cond_init(&done, NULL);
}

static void watch_forks(void) { pthread_atfork(NULL, NULL, forget_workers); }

static int start_workers(int wanted) {
    pthread_once(&fork_handler, watch_forks);
    if (wanted > MOST_WORKERS) wanted = MOST_WORKERS;
    while (workers < wanted) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, worker, (void *)(intptr_t)(workers + 1))) break;
        pthread_detach(thread);
        workers++;
    }
    return workers < wanted ? workers : wanted;
}

void lpb_parallel(lpb_part part, void *job, int64_t items, int threads) {
    int parts = items < threads ? (int)items : threads;
    if (parts < 2 || pthread_mutex_trylock(&busy)) {
        if (items > 0) part(job, 0, items);
        return;
    }
    parts = 1 + start_workers(parts - 1);
    pthread_mutex_lock(&lock);
    task.part = part;
    task.job = job;
    task.items = items;
    task.parts = parts;
    task.unfinished = parts - 1;
    task.generation++;
    place_workers();
    pthread_cond_broadcast(&start);
    pthread_mutex_unlock(&lock);
    run_part(0);
    pthread_mutex_lock(&lock);
    while (task.unfinished) pthread_cond_wait(&done, &lock);
    task.parts = 0;
    pthread_mutex_unlock(&lock);
    pthread_mutex_unlock(&busy);
}

#define _GNU_SOURCE
#include "pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>

enum { MOST_WORKERS = 255 };

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
    cpu_set_t cpus; /* of the calling thread; workers follow a change of placement */
} task;

static void run_part(int index) {
    const int64_t first =
        task.items / task.parts * index + (index < task.items % task.parts ? index : task.items % task.parts);
    const int64_t count = task.items / task.parts + (index < task.items % task.parts);
    if (count > 0) task.part(task.job, first, first + count);
}

static void *worker(void *argument) {
    const int index = (int)(intptr_t)argument;
    uint64_t seen = 0;
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    pthread_mutex_lock(&lock);
    for (;;) {
        while (task.generation == seen || index >= task.parts) {
            seen = task.generation;
            pthread_cond_wait(&start, &lock);
        }
        seen = task.generation;
        if (!CPU_EQUAL(&cpus, &task.cpus)) {
            cpus = task.cpus;
            pthread_setaffinity_np(pthread_self(), sizeof cpus, &cpus);
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
    pthread_getaffinity_np(pthread_self(), sizeof task.cpus, &task.cpus);
    pthread_cond_broadcast(&start);
    pthread_mutex_unlock(&lock);
    run_part(0);
    pthread_mutex_lock(&lock);
    while (task.unfinished) pthread_cond_wait(&done, &lock);
    task.parts = 0;
    pthread_mutex_unlock(&lock);
    pthread_mutex_unlock(&busy);
}

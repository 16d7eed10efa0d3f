// The process-wide thread pool of compiled programs: spin, then sleep. Built once, shared by every program.
//
// lamina_pool_run(body, task, count) calls body(task, begin, end) on fixed contiguous parts of [0, count), one part per
// thread, the caller's included, and returns when all are done. A second caller meanwhile runs its range alone.
// A forked child starts without workers and makes its own.

#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

typedef void (*range_body)(void *task, int64_t begin, int64_t end);

enum { MAX_THREADS = 255, SPINS = 4000, SPINS_BEFORE_YIELD = 2000 };

// A job's number and its thread count are one word, so that a worker never mixes two jobs.
static _Alignas(64) _Atomic uint32_t job_word;
static _Alignas(64) _Atomic uint32_t left;
static _Alignas(64) _Atomic uint32_t sleepers;
static _Atomic bool busy;
static _Atomic int threads = 1;
static int started;
static range_body job_body;
static void *job_task;
static int64_t job_count;

static inline void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__) || defined(__arm__)
    __asm__ volatile("yield");
#endif
}

#ifdef __linux__
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

static void sleep_on(uint32_t word) { syscall(SYS_futex, &job_word, FUTEX_WAIT_PRIVATE, word, 0, 0, 0); }
static void wake_all(void) { syscall(SYS_futex, &job_word, FUTEX_WAKE_PRIVATE, MAX_THREADS, 0, 0, 0); }
static void renew_lock(void) {}
#else
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

static void sleep_on(uint32_t word) {
    pthread_mutex_lock(&lock);
    while (atomic_load(&job_word) == word) pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
}

static void wake_all(void) {
    pthread_mutex_lock(&lock);
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static void renew_lock(void) {
    pthread_mutex_init(&lock, 0);
    pthread_cond_init(&changed, 0);
}
#endif

static uint32_t wait_for_job(uint32_t seen) {
    for (int spins = 0;;) {
        uint32_t word = atomic_load_explicit(&job_word, memory_order_acquire);
        if (word != seen) return word;
        if (spins++ < SPINS) {
            relax();
            continue;
        }
        atomic_fetch_add(&sleepers, 1);
        sleep_on(seen);
        atomic_fetch_sub(&sleepers, 1);
        spins = 0;
    }
}

static void run_part(int64_t part, int64_t parts) {
    int64_t begin = job_count * part / parts, end = job_count * (part + 1) / parts;
    if (begin < end) job_body(job_task, begin, end);
}

struct worker_start {
    int id;
    uint32_t seen;
};
static struct worker_start starts[MAX_THREADS + 1];

static void *work(void *argument) {
    struct worker_start me = *(struct worker_start *)argument;
    for (uint32_t seen = me.seen;;) {
        seen = wait_for_job(seen);
        int parts = (int)(seen & 0xff);
        if (me.id >= parts) continue;
        run_part(me.id, parts);
        atomic_fetch_sub_explicit(&left, 1, memory_order_release);
    }
    return 0;
}

static void forget_workers(void) {
    started = 0;
    atomic_store(&busy, false);
    atomic_store(&sleepers, 0);
    atomic_store(&left, 0);
    renew_lock();
}

static void start_workers(int wanted) {
    static bool prepared;
    if (!prepared) {
        prepared = true;
        pthread_atfork(0, 0, forget_workers);
    }
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, 4 << 20);
    while (started < wanted - 1) {
        pthread_t thread;
        struct worker_start *start = &starts[started + 1];
        *start = (struct worker_start){started + 1, atomic_load(&job_word)};
        if (pthread_create(&thread, &attributes, work, start)) break;
        started++;
    }
    pthread_attr_destroy(&attributes);
}

void lamina_pool_threads(int wanted) {
    atomic_store(&threads, wanted < 1 ? 1 : wanted > MAX_THREADS ? MAX_THREADS : wanted);
}

void lamina_pool_run(range_body body, void *task, int64_t count) {
    int64_t parts = atomic_load_explicit(&threads, memory_order_relaxed);
    if (parts > count) parts = count;
    if (parts <= 1 || atomic_exchange_explicit(&busy, true, memory_order_acquire)) {
        body(task, 0, count);
        return;
    }
    if (started < parts - 1) start_workers((int)parts);
    if (parts > started + 1) parts = started + 1;
    job_body = body;
    job_task = task;
    job_count = count;
    atomic_store_explicit(&left, (uint32_t)parts - 1, memory_order_relaxed);
    uint32_t word = atomic_load(&job_word);
    atomic_store(&job_word, (word & ~0xffu) + 0x100u + (uint32_t)parts);
    if (atomic_load(&sleepers)) wake_all();
    run_part(0, parts);
    for (int spins = 0; atomic_load_explicit(&left, memory_order_acquire);) {
        if (++spins < SPINS_BEFORE_YIELD) relax();
        else sched_yield();
    }
    atomic_store_explicit(&busy, false, memory_order_release);
}

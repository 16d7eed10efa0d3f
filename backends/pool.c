// The process-wide thread pool of compiled programs: spin, then sleep. Built once, shared by every program.
//
// lamina_pool_run(body, task, count) calls body(task, begin, end) on contiguous pieces of [0, count) and returns when all are
// done. Every thread, the caller's included, has a part of its own (what it worked on last time is in its cache), of which
// half of what is left is claimed at a time; who has finished helps the others. So parts that take longer than others are
// shared to the last task, and a worker that the machine has no core for delays nobody: the caller waits for pieces that were
// begun only. A second caller meanwhile runs its range alone.
// A worker spins through the gaps between the programs of a step, if the last one was short, and sleeps in others.
// After waiting far longer than it worked, or working for some time without help, the caller works alone for a while: the machine is
// busy with something else. A worker on the caller's processor moves to another one, or sleeps at once: while it waits there nobody works.
// A forked child starts without workers and makes its own.
//
// lamina_pool_program(body, table, found) runs a program on as many threads as pay for it, which it finds out: processors that share no cache take longer to
// exchange what a short program computes than to compute it, and a virtual machine's processors are moved. It times a few runs on the threads it has and a few
// on half or twice as many, now and then, and keeps to what was faster. Nothing a program computes depends on that.

#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

typedef void (*range_body)(void *task, int64_t begin, int64_t end);

enum { MAX_THREADS = 255, SPINS = 4000, SPINS_BEFORE_YIELD = 2000 };
enum { MAX_UNITS = 1 << 15, SHARE = 2, LEAST_SHARE = 64 /* of a part: so many tiny tasks are not worth a claim each */ };
enum { PATIENCE = 50000, WITHOUT_HELP = 250000, NOTICED = 10000 /* nanoseconds */, ALONE_PER_WAIT = 8 };
enum { TIMED = 5, UNTIMED = 2 /* caches are filled anew */, RUNS_BEFORE_TRIAL = 20, MOST_RUNS_BEFORE_TRIAL = 3000 };
enum { GAIN = 20 /* a twentieth */, TOO_LONG = 10000000 /* nanoseconds: beginning and ending a job is nothing of these, trials are much */ };
enum { SPINS_BETWEEN_LOOKS = 256, LONG_SPIN = 400000 /* nanoseconds */ };

// A job's number and its thread count are one word, so that a worker never mixes two jobs.
static _Alignas(64) _Atomic uint32_t job_word;

// A thread's part of the job: the job's word, how many units (tasks, or nearly equal numbers of them) there are, and how many are
// taken. Whoever takes some of a job keeps the job going, so its fields below may be read.
struct part {
    _Alignas(64) _Atomic uint64_t state;
};
static struct part part_of[MAX_THREADS];
static _Alignas(64) _Atomic uint32_t left;
static _Alignas(64) _Atomic uint32_t sleepers;
static _Atomic bool busy;
static _Atomic int threads = 1;
static _Atomic int caller_processor = -1;
static int started;
static int64_t alone_until, without_help;
static range_body job_body;
static void *job_task;
static int64_t job_count, job_units;

// Threads that a program's jobs are shared among at most, while it runs; 0 outside of such.
static _Thread_local int64_t limit;

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
static int processor(void) { return sched_getcpu(); }

// Moves this thread to another one of the processors that the process may use; whether there is one. A thread that was woken where
// the caller runs, because all others had something to do, is woken there ever after: nobody moves who hardly runs.
static bool leave(int taken) {
    cpu_set_t allowed;
    if (sched_getaffinity(getpid(), sizeof allowed, &allowed)) return false;
    CPU_CLR((unsigned)taken, &allowed);
    return CPU_COUNT(&allowed) && !sched_setaffinity(0, sizeof allowed, &allowed);
}
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

static int processor(void) { return -1; }
static bool leave(int taken) { return taken < 0; }
#endif

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

// Whether this thread has to run where the caller does.
static bool stuck_with_the_caller(void) {
    int here = processor();
    return here >= 0 && here == atomic_load_explicit(&caller_processor, memory_order_relaxed) && !leave(here);
}

// pays: whether the last wait that was not short ended soon enough to be spun through, as between the programs of a training step.
static uint32_t wait_for_job(uint32_t seen, bool *pays) {
    int64_t start = 0;
    for (int spins = 0;; spins++) {
        uint32_t word = atomic_load_explicit(&job_word, memory_order_acquire);
        if (word != seen) {
            if (spins > SPINS) *pays = now() - start < LONG_SPIN;
            return word;
        }
        if (spins % SPINS_BETWEEN_LOOKS) {
            relax();
            continue;
        }
        if (!spins) start = now();
        if (!stuck_with_the_caller() && (spins < SPINS || (*pays && now() - start < LONG_SPIN))) continue;
        atomic_fetch_add(&sleepers, 1);
        sleep_on(seen);
        atomic_fetch_sub(&sleepers, 1);
        (void)stuck_with_the_caller();
        spins = SPINS;
    }
}

static uint64_t part_state(uint32_t word, uint32_t units, uint32_t taken) {
    return (uint64_t)word << 32 | units << 16 | taken;
}

static inline int64_t part_start(int64_t owner, int64_t parts) { return job_units * owner / parts; }

static inline int64_t task_of(int64_t unit) {
    return job_units == job_count ? unit : job_count / job_units * unit + job_count % job_units * unit / job_units;
}

// Claims the next units of a part of this job, from *first of the part on: how many, 0 where there are no more.
static int64_t claim(int owner, uint32_t word, int64_t *first) {
    uint64_t state = atomic_load_explicit(&part_of[owner].state, memory_order_acquire);
    for (;;) {
        uint32_t units = (uint32_t)state >> 16, taken = (uint32_t)state & 0xffff, rest = units - taken;
        if ((uint32_t)(state >> 32) != word || !rest) return 0;
        uint32_t share = rest / SHARE > units / LEAST_SHARE ? rest / SHARE : units / LEAST_SHARE;
        if (share < 1) share = 1;
        if (share > rest) share = rest;
        *first = taken;
        if (atomic_compare_exchange_weak(&part_of[owner].state, &state, part_state(word, units, taken + share))) return share;
    }
}

// Works on a job; how many units this thread did.
static int64_t run_pieces(int me, uint32_t word) {
    int parts = (int)(word & 0xff);
    int64_t done = 0;
    for (int k = 0, owner = me; k < parts; k++, owner = owner + 1 < parts ? owner + 1 : 0) {
        for (int64_t first, share; (share = claim(owner, word, &first)) > 0; done += share) {
            first += part_start(owner, parts);
            job_body(job_task, task_of(first), task_of(first + share));
        }
    }
    if (done) atomic_fetch_sub_explicit(&left, (uint32_t)done, memory_order_release);
    return done;
}

struct worker_start {
    int id;
    uint32_t seen;
};
static struct worker_start starts[MAX_THREADS + 1];

static void *work(void *argument) {
    struct worker_start me = *(struct worker_start *)argument;
    bool pays = true;
    for (uint32_t seen = me.seen;;) {
        seen = wait_for_job(seen, &pays);
        if (me.id < (int)(seen & 0xff)) run_pieces(me.id, seen);
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

// Wait for the pieces others have begun, and see whether sharing was worth it.
static void finish(int64_t start, bool helped) {
    int64_t worked = now();
    for (int spins = 0; atomic_load_explicit(&left, memory_order_acquire);) {
        if (++spins < SPINS_BEFORE_YIELD) relax();
        else sched_yield();
    }
    int64_t end = now(), wasted = 0;
    if (helped) without_help = 0;
    else if (worked - start > NOTICED) without_help += worked - start;
    if (end - worked > PATIENCE + (worked - start) / 2) wasted = end - worked;
    if (without_help > WITHOUT_HELP) wasted = without_help;
    if (!wasted) return;
    alone_until = end + ALONE_PER_WAIT * wasted;
    without_help = 0;
}

void lamina_pool_run(range_body body, void *task, int64_t count) {
    int64_t parts = atomic_load_explicit(&threads, memory_order_relaxed);
    if (limit && parts > limit) parts = limit;
    if (parts > count) parts = count;
    if (parts <= 1 || atomic_exchange_explicit(&busy, true, memory_order_acquire)) {
        body(task, 0, count);
        return;
    }
    int64_t start = now();
    if (start < alone_until) {
        atomic_store_explicit(&busy, false, memory_order_release);
        body(task, 0, count);
        return;
    }
    if (started < parts - 1) start_workers((int)parts);
    if (parts > started + 1) parts = started + 1;
    job_body = body;
    job_task = task;
    job_count = count;
    job_units = count < MAX_UNITS ? count : MAX_UNITS;
    atomic_store_explicit(&left, (uint32_t)job_units, memory_order_relaxed);
    uint32_t word = (atomic_load(&job_word) & ~0xffu) + 0x100u + (uint32_t)parts;
    for (int64_t k = 0; k < parts; k++) {
        uint32_t units = (uint32_t)(part_start(k + 1, parts) - part_start(k, parts));
        atomic_store_explicit(&part_of[k].state, part_state(word, units, 0), memory_order_release);
    }
    atomic_store_explicit(&caller_processor, processor(), memory_order_relaxed);
    atomic_store(&job_word, word);
    if (atomic_load(&sleepers)) wake_all();
    bool helped = run_pieces(0, word) < job_units;
    finish(start, helped);
    atomic_store_explicit(&busy, false, memory_order_release);
}

// What is kept for a program, zero at first. all: threads there were when it began. tried: on how many it is timed beside limit; fewer: whether
// that is the next trial's direction. runs: so many until the next trial, below zero within one; pause: so many before it.
struct threads_found {
    int64_t all, limit, tried, fewer, runs, pause, fastest[2];
};
_Static_assert(sizeof(struct threads_found) <= 8 * sizeof(int64_t), "what programs keep for it has eight words");

// Once both were timed: the faster number of threads from now on, and the way the next trial goes.
static void conclude(struct threads_found *own) {
    if (own->fastest[1] < own->fastest[0] - own->fastest[0] / GAIN) {
        own->limit = own->tried;
        own->pause = own->runs = RUNS_BEFORE_TRIAL;
    } else {
        own->fewer = !own->fewer;
        own->pause = own->runs = own->pause * 2 < MOST_RUNS_BEFORE_TRIAL ? own->pause * 2 : MOST_RUNS_BEFORE_TRIAL;
    }
    if (own->limit <= 1) own->fewer = 0;
    if (own->limit >= own->all) own->fewer = 1;
}

int lamina_pool_program(int (*body)(void **table), void **table, void *found) {
    struct threads_found *own = found;
    int64_t all = atomic_load_explicit(&threads, memory_order_relaxed);
    if (own->all != all) *own = (struct threads_found){.all = all, .limit = all, .fewer = 1, .runs = RUNS_BEFORE_TRIAL, .pause = RUNS_BEFORE_TRIAL};
    if (all <= 1 || own->runs > 0) {
        own->runs--;
        limit = own->limit;
        int status = body(table);
        limit = 0;
        return status;
    }
    int64_t run = -own->runs--;
    bool other = run >= TIMED;
    if (!run) {
        int64_t twice = own->limit * 2 < all ? own->limit * 2 : all;
        own->tried = own->fewer ? (own->limit + 1) / 2 : twice;
    }
    if (run == 0 || run == TIMED) own->fastest[other] = INT64_MAX;
    limit = other ? own->tried : own->limit;
    int64_t start = now();
    int status = body(table);
    int64_t took = now() - start;
    limit = 0;
    if (took < own->fastest[other] && (!other || run >= TIMED + UNTIMED)) own->fastest[other] = took;
    if (run == TIMED - 1 && own->limit == all && own->fastest[0] > TOO_LONG) own->runs = MOST_RUNS_BEFORE_TRIAL;
    else if (run == 2 * TIMED + UNTIMED - 1) conclude(own);
    return status;
}

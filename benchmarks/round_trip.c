// The round trip of a word between two threads, and updates in place of an array that one or both have read (round_trip.py).

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { TRIPS = 100000, ELEMENTS = 200704, ROUNDS = 200 };

static _Alignas(64) _Atomic int word;
static _Alignas(64) _Atomic int arrived;
static float *array;
static double updates[2] = {1e30, 1e30};

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void meet(int *times) {
    *times += 2;
    atomic_fetch_add(&arrived, 1);
    while (atomic_load(&arrived) < *times) {}
}

static void update(int who) {
    int times = 0;
    for (int round = 0; round < 2 * ROUNDS; round++) {
        int both = round >= ROUNDS;
        float sum = 0;
        for (int k = both ? 0 : who * ELEMENTS / 2; k < (both ? ELEMENTS : (who + 1) * ELEMENTS / 2); k += 16) sum += array[k];
        volatile float kept = sum;
        (void)kept;
        meet(&times);
        int64_t start = now();
        for (int k = who * ELEMENTS / 2; k < (who + 1) * ELEMENTS / 2; k++) array[k] += 1;
        meet(&times);
        double taken = (double)(now() - start) / 1000;
        if (!who && taken < updates[both]) updates[both] = taken;
    }
}

static void *other(void *unused) {
    for (int n = 0; n < TRIPS; n++) {
        while (atomic_load(&word) != 1) {}
        atomic_store(&word, 0);
    }
    update(1);
    return unused;
}

int main(void) {
    pthread_t thread;
    array = calloc(ELEMENTS, sizeof *array);
    if (!array || pthread_create(&thread, 0, other, 0)) return 1;
    int64_t start = now(), best = INT64_MAX;
    for (int n = 1; n <= TRIPS; n++) {
        atomic_store(&word, 1);
        while (atomic_load(&word)) {}
        if (n % 1000) continue;
        int64_t end = now();
        if (end - start < best) best = end - start;
        start = end;
    }
    update(0);
    pthread_join(thread, 0);
    printf("%f %f %f\n", (double)best / 1000, updates[0], updates[1]);
    return 0;
}

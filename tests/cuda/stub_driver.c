/* A libcuda.so.1 for tests: cuda.bindings calls it as it would the driver. Memory is the host's, kernels run on the emulation (a
   "cubin" is what fake_driver.cubin_of makes), every call is checked against what the driver API's documentation asks. Kernels of a real
   cubin are launched by the same rules and by what the cubin says of them (parameters, threads, registers, cluster), and compute nothing. */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { FINE = 0, INVALID = 1, NO_MEMORY = 2, NO_DEVICE = 100, NO_CONTEXT = 201, BAD_HANDLE = 400, NOT_FOUND = 500, FAILED = 719, CAPTURE = 900 };
enum { MOST = 512, LONGEST = 1 << 16, MOST_PARAMETERS = 32764 /* bytes, since CUDA 12.1 */, REGISTERS = 1 << 16 };
typedef int (*runner)(int, void **, unsigned *, unsigned, size_t, uint32_t);
typedef struct { char name[96]; int number, pointers, maps, packed, cluster, shared, registers, threads, sizes[MOST]; runner run; } kernel;
typedef struct { int count; kernel kernels[MOST]; } module;
typedef struct { kernel *of; unsigned grid[3], threads; size_t shared; uint64_t values[LONGEST / 8]; char maps[8][128]; } launch;
typedef struct { int capturing, count; launch *launches[4096]; } stream;

static __thread int has_context;
static stream standard;
static int sticky;

static const char *option(const char *name) { const char *v = getenv(name); return v ? v : ""; }
static int number(const char *name, int otherwise) { const char *v = getenv(name); return v ? atoi(v) : otherwise; }
static stream *of(void *s) { return s ? s : &standard; }
static int ready(void) { return !has_context ? NO_CONTEXT : sticky; }

static int init(unsigned flags) { return flags ? INVALID : number("STUB_COUNT", 1) ? FINE : NO_DEVICE; }
static int version(int *v) { return *v = number("STUB_VERSION", 13000), FINE; }
static int count(int *n) { return *n = number("STUB_COUNT", 1), FINE; }
static int device(int *d, int n) { return *d = n, FINE; }
static int name(char *to, int n, int d) { return d ? INVALID : (strncpy(to, "Stub", n), FINE); }
static int attribute(int *v, int which, int d) {
    *v = which == 75 ? number("STUB_MAJOR", 9) : which == 76 ? 0 : which == 16 ? number("STUB_PROCESSORS", 4) : -1;
    return d || *v < 0 ? INVALID : FINE;
}
/* STUB_GIB: of memory nobody looks into. Only as much of it is there as is written, and large copies write nothing. */
static size_t gib(void) { return (size_t)number("STUB_GIB", 0) << 30; }
static size_t all(void) { return gib() ? gib() : 1 << 28; }
static int total(size_t *n, int d) { return *n = all(), d ? INVALID : FINE; }
static int retain(void **c, int d) { return *c = (void *)0x1000, d ? INVALID : FINE; }
static int current(void *c) { return has_context = c != 0, FINE; }
static int text(int status, const char **to) { return *to = status == FAILED ? "unspecified launch failure" : status == NO_DEVICE ? "no CUDA-capable device is detected" : "something else", FINE; }
static int busy; /* whether nobody has waited for what was begun last */
static int synchronize(void) { return busy = 0, ready(); }
static int memory(size_t *free, size_t *whole) { return *free = all() / 2, *whole = all(), ready(); }
static size_t taken;
static int allocate(uint64_t *at, size_t n) {
    void *made = 0;
    if (ready()) return ready();
    if (!n) return INVALID;
    if (gib()) {
        size_t *kept = taken + n > gib() ? MAP_FAILED : mmap(0, n + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (kept == MAP_FAILED) return NO_MEMORY;
        return taken += *kept = n, *at = (uint64_t)(uintptr_t)kept + 4096, FINE;
    }
    if (n > 1 << 28 || posix_memalign(&made, 256, n)) return NO_MEMORY;
    memset(made, 0xff, n);
    return *at = (uint64_t)(uintptr_t)made, FINE;
}
static int release(uint64_t at) {
    size_t *kept = (size_t *)(uintptr_t)(at - 4096), size = gib() ? *kept : 0;
    if (ready() || busy) return ready() ? ready() : INVALID; /* what is given back may be in use */
    taken -= size;
    return gib() ? munmap(kept, size + 4096) : (free((void *)(uintptr_t)at), FINE);
}
static int pinned(void **at, size_t n, unsigned flags) { return flags ? INVALID : posix_memalign(at, 256, n) ? NO_MEMORY : ready(); }
static int unpin(void *at) { return free(at), ready(); }
static int move(uint64_t to, uint64_t from, size_t n, void *s) {
    if (of(s)->capturing || ready()) return ready() ? ready() : CAPTURE;
    busy = 1;
    return gib() && n > 1 << 20 ? FINE : (memmove((void *)(uintptr_t)to, (void *)(uintptr_t)from, n), FINE);
}
static int fetch(void *to, uint64_t from, size_t n, void *s) { /* what nobody computed is 0 */
    return gib() && !of(s)->capturing && !ready() ? (memset(to, 0, n), FINE) : move((uint64_t)(uintptr_t)to, from, n, s);
}
static int fill(uint64_t to, const void *value, size_t n, size_t width, void *s) {
    if (of(s)->capturing || ready()) return ready() ? ready() : CAPTURE;
    if (!n || to % width) return INVALID;
    for (size_t i = 0; i < n && !(gib() && n * width > 1 << 20); i++) memcpy((char *)(uintptr_t)to + i * width, value, width);
    return FINE;
}
static int fill1(uint64_t to, unsigned char value, size_t n, void *s) { return fill(to, &value, n, 1, s); }
static int fill2(uint64_t to, unsigned short value, size_t n, void *s) { return fill(to, &value, n, 2, s); }
static int fill4(uint64_t to, unsigned value, size_t n, void *s) { return fill(to, &value, n, 4, s); }
static int new_stream(void **s, unsigned flags) { return flags > 1 ? INVALID : (*s = calloc(1, sizeof(stream)), ready()); }
static int end_stream(void *s) { return s ? (free(s), ready()) : INVALID; }
static int wait_stream(void *s) { return of(s)->capturing ? CAPTURE : ready(); }
static int wait_event(void *s, void *e, unsigned flags) { return flags || !e ? INVALID : of(s)->capturing ? CAPTURE : ready(); }
static int begin(void *s, int mode) { return !s || mode != 1 ? INVALID : (of(s)->capturing = 1, ready()); }
static int end(void *s, void **graph) {
    stream *made = calloc(1, sizeof(stream));
    *made = *of(s);
    of(s)->capturing = of(s)->count = 0;
    return *graph = made, made->capturing ? ready() : INVALID;
}
static int instantiate(void **ready_graph, void *graph, unsigned long long flags) {
    stream *made = malloc(sizeof(stream));
    memcpy(made, graph, sizeof(stream));
    return *ready_graph = made, flags ? INVALID : ready();
}
static int end_graph(void *graph) { return graph ? (free(graph), FINE) : BAD_HANDLE; }
static int run(launch *l) {
    void *table[LONGEST / 8 + 8];
    int i, given = l->of->packed ? 1 : l->of->pointers;
    if (!strcmp(l->of->name, option("STUB_FAILS"))) return sticky = FAILED, FINE; /* told by a later call */
    if (!l->of->run) return FINE;
    for (i = 0; i < given; i++) table[i] = l->of->packed ? (void *)l->values : (void *)(uintptr_t)l->values[i];
    for (i = 0; i < l->of->maps; i++) table[given + i] = l->maps[i];
    return l->of->run(l->of->number, table, l->grid, l->threads, l->shared, 1) ? FAILED : FINE;
}
static int replay(void *graph, void *s) {
    stream *g = graph;
    int i, status = of(s)->capturing ? CAPTURE : ready();
    busy = 1;
    for (i = 0; i < g->count && !status; i++) status = run(g->launches[i]);
    return status;
}
static int start(kernel *k, unsigned x, unsigned y, unsigned z, unsigned threads, unsigned one, unsigned two, unsigned shared, void *s, void **given, void **extra) {
    launch *l = malloc(sizeof(launch));
    int i;
    busy = 1;
    if (ready()) return ready();
    if (!k || !x || !y || !z || !threads || threads > 1024 || one != 1 || two != 1 || extra) return INVALID;
    if (x > 0x7fffffffu || y > 65535 || z > 65535 || shared > (unsigned)k->shared || x % k->cluster) return INVALID;
    if ((8 * k->pointers + 127) / 128 * 128 + 128 * k->maps > MOST_PARAMETERS) return INVALID;
    if (of(s) == &standard && standard.capturing) return CAPTURE;
    if (!k->run) {
        volatile char seen;
        if (threads > (unsigned)k->threads || k->registers * (int)threads > REGISTERS) return 701; /* out of resources */
        for (i = 0; i < k->pointers; i++)
            for (int b = 0; b < k->sizes[i]; b++) seen = ((char *)given[i])[b];
        (void)seen;
        *l = (launch){.of = k};
        if (of(s)->capturing) return of(s)->launches[of(s)->count++] = l, FINE;
        return free(l), FINE;
    }
    l->of = k, l->grid[0] = x, l->grid[1] = y, l->grid[2] = z, l->threads = threads, l->shared = shared;
    if (k->packed) memcpy(l->values, given[0], 8 * k->pointers);
    else for (i = 0; i < k->pointers; i++) l->values[i] = *(uint64_t *)given[i];
    for (i = 0; i < k->maps; i++) memcpy(l->maps[i], given[(k->packed ? 1 : k->pointers) + i], 128);
    if (!of(s)->capturing) return i = run(l), free(l), i;
    return of(s)->launches[of(s)->count++] = l, FINE;
}
/* Kernels of an ELF file by its .nv.info sections: 0x17 and 0x45 are parameters, 0x05 threads, 0x3d the cluster, 0x2f registers. */
static int word(const char *at) { return *(const unsigned short *)at; }
static int whole(const char *at) { return *(const int *)at; }
static const char *section(const char *elf, int k) { return elf + *(const uint64_t *)(elf + 0x28) + k * word(elf + 0x3a); }
static const char *inside(const char *elf, int k) { return elf + *(const uint64_t *)(section(elf, k) + 24); }
static int load_cubin(module *m, const char *elf) {
    const char *names = inside(elf, word(elf + 0x3e)), *symbols = 0, *texts = 0, *at, *name;
    int k, count = word(elf + 0x3c), has = 0;
    for (k = 0; k < count; k++)
        if (whole(section(elf, k) + 4) == 2) symbols = inside(elf, k), texts = inside(elf, whole(section(elf, k) + 40));
    for (has = 0; has < 2; has++) /* kernels first, then what is said of all of them */
        for (k = 0; k < count; k++) {
            const char *end = inside(elf, k) + *(const uint64_t *)(section(elf, k) + 32);
            kernel *it = &m->kernels[m->count];
            name = names + whole(section(elf, k));
            if (strncmp(name, ".nv.info", 8) || (name[8] == 0) != has) continue;
            if (!has && (m->count == MOST || strlen(name + 9) >= sizeof(it->name))) return 209;
            if (!has) strcpy(it->name, name + 9), it->cluster = 1, it->shared = 48 << 10, it->threads = 1024, m->count++;
            for (at = inside(elf, k); at < end; at += *at == 4 ? 4 + word(at + 2) : 4) {
                const char *given = at + 4;
                int kind = (unsigned char)at[1];
                if (kind == 0x17 || kind == 0x45) {
                    if (word(given + 4) >= MOST) return 209;
                    it->sizes[word(given + 4)] = kind == 0x17 ? whole(given + 8) >> 18 : whole(given + 8), it->pointers++;
                }
                if (kind == 0x05) it->threads = whole(given);
                if (kind == 0x3d) it->cluster = whole(given);
                for (int i = 0; kind == 0x2f && i < m->count; i++)
                    if (!strcmp(m->kernels[i].name, texts + whole(symbols + 24 * whole(given)))) m->kernels[i].registers = whole(given + 4);
            }
        }
    return FINE;
}
static int load(void **to, const char *image) {
    if (image[0] == 0x7f) return *to = calloc(1, sizeof(module)), ready() ? ready() : load_cubin(*to, image);
    char path[] = "/tmp/lamina-stub-XXXXXX", *line = strdup(image), *word;
    module *m = calloc(1, sizeof(module));
    size_t size = strtoul(line, &word, 10);
    const char *library = strchr(image, '\n') + 1;
    int file = mkstemp(path), bad = write(file, library, size) != (ssize_t)size;
    void *held;
    close(file);
    held = bad ? 0 : dlopen(path, RTLD_NOW | RTLD_LOCAL);
    unlink(path);
    if (!held || ready()) return ready() ? ready() : 209;
    *strchr(line, '\n') = 0;
    for (word = strtok(strchr(line, ' ') + 1, " "); word && m->count < MOST; word = strtok(0, " ")) {
        kernel *k = &m->kernels[m->count];
        if (sscanf(word, "%95[^:]:%d:%d:%d:%d", k->name, &k->pointers, &k->maps, &k->packed, &k->cluster) != 5) return 209;
        k->number = m->count++, k->shared = 48 << 10, k->run = (runner)dlsym(held, "lm_run");
    }
    return *to = m, FINE;
}
static int unload(void *m) { return m ? (free(m), ready()) : BAD_HANDLE; }
static int function(void **to, module *m, const char *wanted) {
    for (int i = 0; i < m->count; i++)
        if (!strcmp(m->kernels[i].name, wanted)) return *to = &m->kernels[i], ready();
    return NOT_FOUND;
}
static int most_shared(void) { return (number("STUB_MAJOR", 9) >= 9 ? 227 : 163) << 10; }
static int set(kernel *k, int which, int value) { return which != 8 || value > most_shared() ? INVALID : (k->shared = value, ready()); }
static int new_event(void **e, unsigned flags) { return flags ? INVALID : (*e = calloc(1, 4), ready()); }
static int end_event(void *e) { return e ? (free(e), FINE) : BAD_HANDLE; }
static int record(void *e, void *s) { return !e || of(s)->capturing ? INVALID : (*(int *)e = 1, ready()); }
static int happened(void *e) { return !e ? BAD_HANDLE : ready(); }
static int elapsed(float *ms, void *a, void *b) { return *ms = 1.5f, *(int *)a && *(int *)b ? ready() : BAD_HANDLE; }

/* As in backends/emulation/device.h. */
typedef struct { void *base; int64_t sizes[5], strides[5]; short box[5], every[5], rank, size, tf32; } boxes;

int cuTensorMapEncodeTiled(
    void *map, int type, unsigned rank, void *address, const uint64_t *sizes, const uint64_t *strides, const uint32_t *box, const uint32_t *steps,
    int interleave, int swizzle, int promotion, int fill
) {
    static const int bytes[] = {1, 2, 4, 4, 8, 8, 2, 4, 8, 2, 4, 4, 4};
    boxes made = {address, {0}, {0}, {0}, {0}, (short)rank, (short)bytes[type], type == 11};
    unsigned i;
    if (!map || (uintptr_t)map % 128 || (uintptr_t)address % 16 || type < 0 || type > 12 || rank < 1 || rank > 5) return INVALID;
    if (interleave || swizzle != 3 || promotion < 0 || promotion > 3 || fill) return INVALID;
    if (box[0] * bytes[type] > 128 || box[0] * bytes[type] % 16) return INVALID;
    for (i = 0; i < rank; i++) {
        if (!sizes[i] || sizes[i] > 1ull << 32 || !box[i] || box[i] > 256 || !steps[i] || steps[i] > 8 || (!i && steps[i] > 1)) return INVALID;
        if (i + 1 < rank && (!strides[i] || strides[i] % 16 || strides[i] >= 1ull << 40)) return INVALID;
        if (i + 1 < rank && sizes[0] * bytes[type] > strides[i]) return INVALID; /* rows lie apart */
        if (i + 2 < rank && strides[i] > strides[i + 1]) return INVALID; /* as the documents build them */
        made.sizes[i] = sizes[i], made.every[i] = (short)steps[i], made.box[i] = (short)((box[i] + steps[i] - 1) / steps[i]), made.strides[i] = i ? (int64_t)strides[i - 1] : bytes[type];
    }
    memset(map, 0, 128);
    memcpy(map, &made, sizeof(made));
    return FINE;
}

static const struct { const char *name; void *at; } functions[] = {
    {"cuInit", init}, {"cuDriverGetVersion", version}, {"cuDeviceGetCount", count}, {"cuDeviceGet", device}, {"cuDeviceGetName", name},
    {"cuDeviceGetAttribute", attribute}, {"cuDeviceTotalMem", total}, {"cuDevicePrimaryCtxRetain", retain}, {"cuCtxSetCurrent", current},
    {"cuGetErrorString", text}, {"cuCtxSynchronize", synchronize}, {"cuMemGetInfo", memory}, {"cuMemAlloc", allocate}, {"cuMemFree", release},
    {"cuMemHostAlloc", pinned}, {"cuMemFreeHost", unpin}, {"cuMemcpyHtoDAsync", move}, {"cuMemcpyDtoHAsync", fetch}, {"cuMemcpyDtoDAsync", move},
    {"cuMemsetD8Async", fill1}, {"cuMemsetD16Async", fill2}, {"cuMemsetD32Async", fill4},
    {"cuStreamCreate", new_stream}, {"cuStreamDestroy", end_stream}, {"cuStreamSynchronize", wait_stream}, {"cuStreamWaitEvent", wait_event},
    {"cuStreamBeginCapture", begin}, {"cuStreamEndCapture", end}, {"cuGraphInstantiate", instantiate}, {"cuGraphInstantiateWithFlags", instantiate},
    {"cuGraphDestroy", end_graph}, {"cuGraphExecDestroy", end_graph}, {"cuGraphLaunch", replay}, {"cuLaunchKernel", start},
    {"cuModuleLoadData", load}, {"cuModuleUnload", unload}, {"cuModuleGetFunction", function}, {"cuFuncSetAttribute", set},
    {"cuEventCreate", new_event}, {"cuEventDestroy", end_event}, {"cuEventRecord", record}, {"cuEventSynchronize", happened},
    {"cuEventQuery", happened}, {"cuEventElapsedTime", elapsed}, {"cuTensorMapEncodeTiled", cuTensorMapEncodeTiled},
};

int cuGetProcAddress_v2(const char *wanted, void **to, int version, uint64_t flags, int *status) {
    for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++)
        if (!strcmp(functions[i].name, wanted)) return *to = functions[i].at, status ? *status = 0 : 0, (void)version, (void)flags, FINE;
    if (!strncmp(wanted, "cuGetProcAddress", 16)) return *to = cuGetProcAddress_v2, status ? *status = 0 : 0, FINE;
    return *to = 0, status ? *status = 1 : 0, NOT_FOUND;
}
int cuGetProcAddress(const char *wanted, void **to, int version, uint64_t flags) { return cuGetProcAddress_v2(wanted, to, version, flags, 0); }

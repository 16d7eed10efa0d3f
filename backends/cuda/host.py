"""The C host program of a GPU program: loads the cubin through the CUDA driver API, launches, copies, reports errors."""

from __future__ import annotations

from collections.abc import Mapping

from ...lowering.gpu_launches import LaunchTable, TensorMap
from ..ahead_of_time import ALIGNMENT

_DRIVER = """\
typedef int CUresult;
typedef int CUdevice;
typedef unsigned long long CUdeviceptr;
typedef struct CUctx_st *CUcontext;
typedef struct CUmod_st *CUmodule;
typedef struct CUfunc_st *CUfunction;
typedef struct CUstream_st *CUstream;
extern CUresult cuInit(unsigned flags);
extern CUresult cuDeviceGet(CUdevice *device, int ordinal);
extern CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device);
extern CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device);
extern CUresult cuCtxSetCurrent(CUcontext context);
extern CUresult cuCtxSynchronize(void);
extern CUresult cuModuleLoadData(CUmodule *module, const void *image);
extern CUresult cuModuleUnload(CUmodule module);
extern CUresult cuModuleGetFunction(CUfunction *function, CUmodule module, const char *name);
extern CUresult cuFuncSetAttribute(CUfunction function, int attribute, int value);
extern CUresult cuMemAlloc_v2(CUdeviceptr *pointer, size_t bytes);
extern CUresult cuMemFree_v2(CUdeviceptr pointer);
extern CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void *from, size_t bytes);
extern CUresult cuMemcpyDtoH_v2(void *to, CUdeviceptr from, size_t bytes);
extern CUresult cuLaunchKernel(CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                               unsigned block_y, unsigned block_z, unsigned shared_bytes, CUstream stream, void **arguments,
                               void **extra);
extern CUresult cuGetErrorString(CUresult error, const char **text);
extern CUresult cuTensorMapEncodeTiled(void *map, int type, unsigned rank, void *address, const unsigned long long *sizes,
                                       const unsigned long long *strides, const unsigned *box, const unsigned *steps,
                                       int interleave, int swizzle, int promotion, int fill);
enum { MOST_DYNAMIC_SHARED_BYTES = 8 }; /* CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES */
enum { SWIZZLE_128B = 3, PROMOTION_128B = 2 }; /* CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_128B */"""

_FUNCTIONS = """\
typedef struct {
    CUmodule module;
    CUfunction kernels[KERNELS];
    CUdeviceptr memory[BUFFERS];
} program;

static int failed(CUresult error, const char *what) {
    const char *text = "unknown error";
    if (!error) return 0;
    cuGetErrorString(error, &text);
    fprintf(stderr, "%s: %s (CUDA error %d)\\n", what, text, error);
    return 1;
}

/* Load the kernels and allocate every array; arrays of donated outputs are those of their inputs. */
static int program_open(program *p, const void *cubin) {
    if (failed(cuModuleLoadData(&p->module, cubin), "the cubin cannot be loaded")) return 1;
    for (int i = 0; i < KERNELS; i++) {
        if (failed(cuModuleGetFunction(&p->kernels[i], p->module, kernels[i].name), kernels[i].name)) return 1;
        if (kernels[i].shared_bytes > 48 << 10 &&
            failed(cuFuncSetAttribute(p->kernels[i], MOST_DYNAMIC_SHARED_BYTES, kernels[i].shared_bytes), kernels[i].name))
            return 1;
    }
    for (int i = 0; i < BUFFERS; i++) {
        if (buffers[i].same_as >= 0) p->memory[i] = p->memory[buffers[i].same_as];
        else if (failed(cuMemAlloc_v2(&p->memory[i], buffers[i].bytes ? buffers[i].bytes : 1), "out of device memory")) return 1;
    }
    return 0;
}

/* Every launch in order, on the default stream. */
static int program_run(program *p) {
    for (int i = 0; i < LAUNCHES; i++) {
        CUdeviceptr pointers[MOST_ARGUMENTS];
        _Alignas(128) unsigned char encoded[MOST_MAPS][128];
        void *arguments[MOST_ARGUMENTS + MOST_MAPS]; /* a packed launch has one parameter, the array of its pointers */
        for (int k = 0; k < launches[i].count; k++) {
            const struct place *at = &places[launches[i].first + k];
            pointers[k] = p->memory[at->buffer] + at->offset;
            arguments[k] = &pointers[k];
        }
        for (int k = 0; k < launches[i].map_count; k++) {
            const struct tensor_map *m = &maps[launches[i].first_map + k];
            CUresult error = cuTensorMapEncodeTiled(encoded[k], m->type, m->rank, (void *)(uintptr_t)(p->memory[m->buffer] + m->offset),
                                                    m->sizes, m->strides, m->reach, m->every, 0, SWIZZLE_128B, PROMOTION_128B, 0);
            if (failed(error, "a tensor map cannot be made")) return 1;
            arguments[launches[i].count + k] = encoded[k];
        }
        CUresult error = cuLaunchKernel(p->kernels[launches[i].kernel], launches[i].grid[0], launches[i].grid[1],
                                        launches[i].grid[2], launches[i].threads, 1, 1, launches[i].shared_bytes, NULL,
                                        arguments, NULL);
        if (error) {
            fprintf(stderr, "launch %d: kernel %s, %s\\n", i, kernels[launches[i].kernel].name, launches[i].origin);
            return failed(error, "the launch failed");
        }
    }
    return failed(cuCtxSynchronize(), "the program failed");
}

static void program_close(program *p) {
    for (int i = 0; i < BUFFERS; i++)
        if (buffers[i].same_as < 0) cuMemFree_v2(p->memory[i]);
    cuModuleUnload(p->module);
}

/* A whole file; NULL when it cannot be read or has another size than wanted (0: any). */
static char *contents(const char *name, size_t wanted, size_t *size) {
    FILE *file = fopen(name, "rb");
    char *data = NULL;
    if (file && !fseek(file, 0, SEEK_END)) {
        long length = ftell(file);
        rewind(file);
        if (length > 0 && (!wanted || (size_t)length == wanted) && (data = malloc((size_t)length)) &&
            fread(data, 1, (size_t)length, file) != (size_t)length) {
            free(data);
            data = NULL;
        }
        *size = (size_t)length;
    }
    if (file) fclose(file);
    if (!data) fprintf(stderr, "%s: cannot be read, or its size is wrong\\n", name);
    return data;
}

static int copy_in(program *p, const char *weights, char **files) {
    for (int i = 0, file = 0; i < BUFFERS; i++) {
        size_t size = 0;
        if (buffers[i].kind != INPUT || !buffers[i].bytes) continue;
        if (buffers[i].weights >= 0) {
            if (failed(cuMemcpyHtoD_v2(p->memory[i], weights + buffers[i].weights, buffers[i].bytes), "copying weights")) return 1;
            continue;
        }
        char *data = contents(files[file++], buffers[i].bytes, &size);
        if (!data) return 1;
        int bad = failed(cuMemcpyHtoD_v2(p->memory[i], data, buffers[i].bytes), "copying an input");
        free(data);
        if (bad) return 1;
    }
    return 0;
}

static int copy_out(program *p, char **files) {
    for (int i = 0, file = 0; i < BUFFERS; i++) {
        if (buffers[i].kind != OUTPUT || !buffers[i].bytes || buffers[i].state >= 0) continue;
        const char *name = files[file++];
        char *data = malloc(buffers[i].bytes);
        FILE *out = fopen(name, "wb");
        int bad = !data || !out || failed(cuMemcpyDtoH_v2(data, p->memory[i], buffers[i].bytes), "copying an output") ||
                  fwrite(data, 1, buffers[i].bytes, out) != buffers[i].bytes;
        if (out && fclose(out)) bad = 1;
        free(data);
        if (bad) {
            fprintf(stderr, "%s: cannot be written\\n", name);
            return 1;
        }
    }
    return 0;
}

KEEPING
int main(int argc, char **argv) {
    CUdevice device;
    CUcontext context;
    program p;
    size_t size = 0;
    if (argc != 3 + INPUT_FILES + OUTPUT_FILES) {
        fprintf(stderr, "usage: %s CUBIN WEIGHTS then %d input files, %d output files (raw, row-major)\\n", argv[0], INPUT_FILES, OUTPUT_FILES);
        return 1;
    }
    if (failed(cuInit(0), "no CUDA driver") || failed(cuDeviceGet(&device, 0), "no CUDA device") ||
        failed(cuDevicePrimaryCtxRetain(&context, device), "no context") || failed(cuCtxSetCurrent(context), "no context"))
        return 1;
    char *cubin = contents(argv[1], 0, &size), *weights = contents(argv[2], WEIGHTS_BYTES, &size);
    int bad = !cubin || !weights || program_open(&p, cubin);
    if (!bad) {
        bad = copy_in(&p, weights, argv + 3) || program_run(&p) || copy_out(&p, argv + 3 + INPUT_FILES)KEPT;
        program_close(&p);
    }
    free(cubin);
    free(weights);
    cuDevicePrimaryCtxRelease_v2(device);
    return bad;
}"""


_KEEPING = """
/* The weights file with what this call has written, in the place of the one that was read, whole or not at all. */
static int keep_state(program *p, char *weights, const char *name) {
    struct { char magic[8]; uint32_t version, count; uint64_t bytes, checksum; } *head = (void *)weights;
    const uint32_t *word = (const uint32_t *)(weights + ALIGNMENT);
    uint32_t first = 0, second = 0;
    for (int i = 0; i < BUFFERS; i++)
        if (buffers[i].state >= 0 && buffers[i].bytes &&
            failed(cuMemcpyDtoH_v2(weights + buffers[i].state, p->memory[i], buffers[i].bytes), "copying state"))
            return 1;
    for (size_t i = 0; i < (WEIGHTS_BYTES - ALIGNMENT) / 4; i++) {
        first += word[i];
        second += first;
    }
    head->checksum = first | (uint64_t)second << 32;
    char *draft = malloc(strlen(name) + 5);
    FILE *out = draft ? fopen(strcat(strcpy(draft, name), ".new"), "wb") : NULL;
    int bad = !out || fwrite(weights, 1, WEIGHTS_BYTES, out) != WEIGHTS_BYTES;
    if (out && fclose(out)) bad = 1;
    if (bad || rename(draft, name)) {
        fprintf(stderr, "%s: cannot be written\\n", name);
        bad = 1;
    }
    free(draft);
    return bad;
}
"""


def host_source(table: LaunchTable, offsets: Mapping[int, int], weights_bytes: int, prefix: str, state: Mapping[int, int] | None = None) -> str:
    """``<prefix>_host.c``: ``main CUBIN WEIGHTS INPUT... OUTPUT...`` for one program.

    offsets: input number -> its place in the weights file; the other inputs are files. state: output number -> the input it is the new
    contents of: no file, but a part of the weights file. It includes no CUDA header.
    """
    held = state or {}
    kernels = table.kernels()
    shared = {launch.kernel: launch.shape.shared_bytes for launch in table.launches}
    first = sum(b.kind == "input" for b in table.buffers)
    same = {first + output: given for output, given in table.donated}
    buffers = [
        f"    {{{b.kind.upper()}, {b.bytes}u, {offsets.get(k, -1)}, {same.get(k, -1)}, {offsets[held[k - first]] if k - first in held else -1}}}, /* {b.element}{list(b.sizes)} */"
        for k, b in enumerate(table.buffers)
    ]
    launches, places, maps = [], [], []
    for launch in table.launches:
        x, y, z = launch.shape.grid
        where = f'"{_quoted(launch.origin)}"'
        launches.append(
            f"    {{{kernels.index(launch.kernel)}, {{{x}u, {y}u, {z}u}}, {launch.shape.threads}u, "
            f"{launch.shape.shared_bytes}u, {len(places)}, {len(launch.arguments)}, {len(maps)}, {len(launch.maps)}, {where}}},"
        )
        maps += [_map_row(view) for view in launch.maps]
        places += [f"    {{{p.buffer}, {p.offset}u}}," for p in launch.arguments]
    inputs = sum(b.kind == "input" and k not in offsets and b.bytes > 0 for k, b in enumerate(table.buffers))
    outputs = sum(b.kind == "output" and b.bytes > 0 and k - first not in held for k, b in enumerate(table.buffers))
    most = max((len(launch.arguments) for launch in table.launches), default=0)
    most_maps = max((len(launch.maps) for launch in table.launches), default=0)
    nothing = "    {0},"
    lines = [
        f"/* {prefix}: made by lamina. Runs {prefix}.cubin on the first CUDA device. Build: cc -O2 {prefix}_host.c -lcuda */",
        "#include <stddef.h>\n#include <stdint.h>\n#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>",
        _DRIVER,
        "enum { INPUT, OUTPUT, ARENA };",
        f"enum {{\n    BUFFERS = {len(table.buffers)}, KERNELS = {max(1, len(kernels))}, LAUNCHES = {len(table.launches)}, "
        f"MOST_ARGUMENTS = {max(1, most)}, MOST_MAPS = {max(1, most_maps)},\n    INPUT_FILES = {inputs}, OUTPUT_FILES = {outputs}, WEIGHTS_BYTES = {weights_bytes}, ALIGNMENT = {ALIGNMENT}\n}};",
        "/* kind, bytes, offset in the weights file or -1, the input whose memory it is or -1, where in the weights file it is kept or -1 */\n"
        "static const struct { int kind; size_t bytes; long weights; int same_as; long state; } buffers[BUFFERS] = {\n" + "\n".join(buffers) + "\n};",
        "static const struct { const char *name; int shared_bytes; } kernels[KERNELS] = {\n"
        + ("\n".join(f'    {{"{k}", {shared[k]}}},' for k in kernels) or nothing) + "\n};",
        "struct place { int buffer; size_t offset; };\nstatic const struct place places[] = {\n" + ("\n".join(places) or "    {0, 0},") + "\n};",
        "/* boxes: type (CUtensorMapDataType), elements and bytes, innermost first */\n"
        "struct tensor_map {\n    int buffer;\n    size_t offset;\n    int type;\n    unsigned rank;\n"
        "    unsigned long long sizes[5], strides[5];\n    unsigned reach[5], every[5];\n};\n"
        "static const struct tensor_map maps[] = {\n" + ("\n".join(maps) or "    {0, 0, 0, 0, {0}, {0}, {0}, {0}},") + "\n};",
        "static const struct {\n    int kernel;\n    unsigned grid[3], threads, shared_bytes;\n    int first, count; /* its places */\n"
        "    int first_map, map_count;\n"
        "    const char *origin;\n} launches[] = {\n" + ("\n".join(launches) or '    {0, {0, 0, 0}, 0, 0, 0, 0, 0, 0, ""},') + "\n};",
        _FUNCTIONS.replace("KEEPING\n", _KEEPING if held else "").replace("KEPT", " || keep_state(&p, weights, argv[2])" if held else ""),
    ]  # fmt: skip
    return "\n\n".join(lines) + "\n"


_MAP_TYPES = {"i8": 0, "i32": 3, "f16": 6, "f32": 7, "bf16": 9, "tf32": 11}
"""CU_TENSOR_MAP_DATA_TYPE_UINT8, _INT32, _FLOAT16, _FLOAT32, _BFLOAT16 and _TFLOAT32."""


def _map_row(view: TensorMap) -> str:
    sizes, reach, every = (", ".join(f"{n}u" for n in numbers) for numbers in (view.sizes, view.reach, view.every))
    strides = ", ".join(f"{view.element_bytes * n}u" for n in view.strides)
    place = f"{view.place.buffer}, {view.place.offset}u, {_MAP_TYPES[view.element]}, {len(view.sizes)}u"
    return f"    {{{place}, {{{sizes}}}, {{{strides}}}, {{{reach}}}, {{{every}}}}},"


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")

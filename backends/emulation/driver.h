// A stand-in for libcuda.so: the C host program of a GPU program runs on the emulation. Compiled behind the kernels.

enum { LM_NOT_FOUND = 500, LM_LAUNCH_FAILED = 719 };

extern "C" {
int cuInit(unsigned) { return 0; }
int cuDeviceGet(int *device, int) { return *device = 0; }
int cuDevicePrimaryCtxRetain(void **context, int) { *context = &lm_block; return 0; }
int cuDevicePrimaryCtxRelease_v2(int) { return 0; }
int cuCtxSetCurrent(void *) { return 0; }
int cuCtxSynchronize(void) { return 0; }
int cuModuleLoadData(void **module, const void *) { *module = &lm_block; return 0; }
int cuModuleUnload(void *) { return 0; }
int cuModuleGetFunction(void **function, void *, const char *name) {
    for (int i = 0; i < LM_KERNELS; i++)
        if (!strcmp(lm_names[i], name)) {
            *function = (void *)(intptr_t)(i + 1);
            return 0;
        }
    return LM_NOT_FOUND;
}
int cuFuncSetAttribute(void *, int, int) { return 0; }
int cuMemAlloc_v2(unsigned long long *pointer, size_t bytes) {
    void *memory = aligned_alloc(256, (bytes + 255) / 256 * 256);
    if (memory) memset(memory, 0xff, bytes);
    *pointer = (uintptr_t)memory;
    return memory ? 0 : 2;
}
int cuMemFree_v2(unsigned long long pointer) { free((void *)(uintptr_t)pointer); return 0; }
int cuMemcpyHtoD_v2(unsigned long long to, const void *from, size_t bytes) { memcpy((void *)(uintptr_t)to, from, bytes); return 0; }
int cuMemcpyDtoH_v2(void *to, unsigned long long from, size_t bytes) { memcpy(to, (void *)(uintptr_t)from, bytes); return 0; }
int cuLaunchKernel(void *function, unsigned x, unsigned y, unsigned z, unsigned threads, unsigned, unsigned, unsigned shared,
                   void *, void **parameters, void **) {
    void *arguments[64];
    int kernel = (int)(intptr_t)function - 1;
    for (int i = 0; i < lm_parameters[kernel]; i++) memcpy(&arguments[i], parameters[i], sizeof(void *));
    for (int i = 0; i < lm_values[kernel]; i++) arguments[lm_parameters[kernel] + i] = parameters[lm_parameters[kernel] + i];
    const unsigned grid[3] = {x, y, z};
    return lm_run(kernel, arguments, grid, (int)threads, shared, 1) ? LM_LAUNCH_FAILED : 0;
}
int cuTensorMapEncodeTiled(void *to, int type, unsigned rank, void *address, const unsigned long long *sizes, const unsigned long long *strides,
                           const unsigned *reach, const unsigned *every, int, int, int, int) {
    const short size = type == 0 ? 1 : type == 6 || type == 9 ? 2 : 4; // of CUtensorMapDataType; 11 is TF32
    lm_tensor_map map = {(unsigned char *)address, {0}, {size}, {0}, {0}, (short)rank, size, type == 11};
    for (unsigned d = 0; d < rank; d++) {
        map.sizes[d] = (int64_t)sizes[d];
        map.box[d] = (short)((reach[d] + every[d] - 1) / every[d]);
        map.every[d] = (short)every[d];
        if (d) map.strides[d] = (int64_t)strides[d - 1];
    }
    memcpy(to, &map, sizeof map);
    return 0;
}
int cuGetErrorString(int error, const char **text) {
    *text = error == LM_NOT_FOUND ? "named symbol not found" : error == LM_LAUNCH_FAILED ? "unspecified launch failure" : "error";
    return 0;
}
}

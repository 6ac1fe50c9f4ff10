// A stand-in of CUDA's driver for machines without a GPU: it says that it is an H200, has memory (the host's), and launches nothing. A
// program that runs on it comes to all its kernels, which the real NVRTC compiles; what it computes is garbage.
//
//   cc -O1 -fPIC -shared -o libcuda.so cuda.c -lm
//
// Only the calls that CubeCL makes are there. `benches/gpu warm` uses it to compile beforehand what a GPU machine will run. STAND_IN_LOG
// names a file to which each loaded kernel, launch and allocation is written.
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SUCCESS 0
#define OUT_OF_MEMORY 2
#define GIB ((size_t)1 << 30)
#define MEMORY (141 * GIB)

static void say(const char *what, const char *name, size_t number) {
    static FILE *log;
    const char *path = getenv("STAND_IN_LOG");
    if (path == NULL || (log == NULL && (log = fopen(path, "a")) == NULL)) return;
    fprintf(log, "%s %s %zu\n", what, name, number);
    fflush(log);
}

// ---- the device

int cuInit(unsigned flags) { return SUCCESS; }
// CUDA 12.8, that of the compiler; a newer driver loads what was compiled for an older one.
int cuDriverGetVersion(int *version) { *version = 12080; return SUCCESS; }
int cuDeviceGetCount(int *count) { *count = 1; return SUCCESS; }
int cuDeviceGet(int *device, int index) { *device = index; return SUCCESS; }
int cuDeviceGetName(char *name, int length, int device) { snprintf(name, length, "NVIDIA H200 (stand-in)"); return SUCCESS; }
int cuDeviceGetPCIBusId(char *id, int length, int device) { snprintf(id, length, "0000:01:00.0"); return SUCCESS; }
int cuDeviceGetUuid(void *id, int device) { memset(id, 7, 16); return SUCCESS; }
int cuDeviceGetUuid_v2(void *id, int device) { memset(id, 7, 16); return SUCCESS; }
int cuDeviceTotalMem_v2(size_t *bytes, int device) { *bytes = MEMORY; return SUCCESS; }
int cuMemGetInfo_v2(size_t *left, size_t *all) { *all = MEMORY; *left = MEMORY - GIB; return SUCCESS; }
int cuDeviceCanAccessPeer(int *can, int device, int other) { *can = 0; return SUCCESS; }

// By the numbers of CUdevice_attribute. Kernels are made for these: an H100 has the same.
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    switch (attribute) {
    case 1: *value = 1024; break;        // threads of a block
    case 2: *value = 1024; break;        // of them along x
    case 3: *value = 1024; break;        // along y
    case 4: *value = 64; break;          // along z
    case 5: *value = 2147483647; break;  // blocks of a grid along x
    case 6: *value = 65535; break;       // along y
    case 7: *value = 65535; break;       // along z
    case 8: *value = 48 << 10; break;    // shared memory of a block
    case 10: *value = 32; break;         // threads of a warp
    case 13: *value = 1980000; break;    // clock, kHz
    case 16: *value = 132; break;        // multiprocessors
    case 39: *value = 2048; break;       // threads of a multiprocessor
    case 75: *value = 9; break;          // compute capability 9.
    case 76: *value = 0; break;          // .0
    case 97: *value = 227 << 10; break;  // shared memory of a block that asks for more
    default: *value = 1;                 // the rest is asked as whether it can something
    }
    return SUCCESS;
}

static int context;
int cuDevicePrimaryCtxRetain(void **found, int device) { *found = &context; return SUCCESS; }
int cuDevicePrimaryCtxRelease_v2(int device) { return SUCCESS; }
int cuDevicePrimaryCtxSetFlags_v2(int device, unsigned flags) { return SUCCESS; }
int cuCtxSetCurrent(void *given) { return SUCCESS; }
int cuCtxGetCurrent(void **found) { *found = &context; return SUCCESS; }
int cuCtxPushCurrent_v2(void *given) { return SUCCESS; }
int cuCtxPopCurrent_v2(void **found) { *found = &context; return SUCCESS; }
int cuCtxSynchronize(void) { return SUCCESS; }

int cuGetErrorName(int error, const char **name) { *name = "STAND_IN"; return SUCCESS; }
int cuGetErrorString(int error, const char **text) { *text = "an error of the stand-in"; return SUCCESS; }

// ---- memory

// What the GPU has and the host has not: pages are there once they are written to, and launches write nothing. The page before says how
// long it is.
#define PAGE ((size_t)4096)
static int allocate(uint64_t *place, size_t bytes) {
    size_t length = (bytes + 2 * PAGE - 1) & ~(PAGE - 1);
    char *mapped = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapped == MAP_FAILED) return OUT_OF_MEMORY;
    *(size_t *)mapped = length;
    *place = (uint64_t)mapped + PAGE;
    say("ALLOCATED", "bytes", bytes);
    return SUCCESS;
}
static int release(uint64_t place) {
    char *mapped = (char *)place - PAGE;
    if (place != 0) munmap(mapped, *(size_t *)mapped);
    return SUCCESS;
}
int cuMemAlloc_v2(uint64_t *place, size_t bytes) { return allocate(place, bytes); }
int cuMemAllocAsync(uint64_t *place, size_t bytes, void *stream) { return allocate(place, bytes); }
int cuMemFree_v2(uint64_t place) { return release(place); }
int cuMemFreeAsync(uint64_t place, void *stream) { return release(place); }
int cuMemAllocHost_v2(void **place, size_t bytes) { return (*place = calloc(1, bytes)) ? SUCCESS : OUT_OF_MEMORY; }
int cuMemHostAlloc(void **place, size_t bytes, unsigned flags) { return cuMemAllocHost_v2(place, bytes); }
int cuMemFreeHost(void *place) { free(place); return SUCCESS; }

int cuMemcpyHtoD_v2(uint64_t to, const void *from, size_t bytes) { memcpy((void *)to, from, bytes); return SUCCESS; }
int cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t bytes, void *stream) { return cuMemcpyHtoD_v2(to, from, bytes); }
int cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t bytes, void *stream) { memcpy((void *)to, (void *)from, bytes); return SUCCESS; }
int cuMemsetD8Async(uint64_t to, unsigned char value, size_t bytes, void *stream) { memset((void *)to, value, bytes); return SUCCESS; }

// `hrm` trusts a number type only where a small computation comes out right, and goes no further in bf16 where it doesn't: sqrt(1 + (a b)²)
// of crates/hrm/src/device/probe.rs, the only thing that is read back as 128 numbers of f32. So that one is computed.
static void probe(float *found) {
    for (int place = 0; place < 16 * 8; place++) {
        int row = place / 8, column = place % 8;
        double product = 0.0;
        for (int k = 0; k < 24; k++) {
            int a = row * 24 + k, b = k * 8 + column;
            product += (a * 7 % 33 - 16) / 16.0 * ((b * 5 % 31 - 15) / 16.0);
        }
        found[place] = sqrt(1.0 + product * product);
    }
}
int cuMemcpyDtoH_v2(void *to, uint64_t from, size_t bytes) {
    memcpy(to, (void *)from, bytes);
    if (bytes == 16 * 8 * sizeof(float)) probe(to);
    return SUCCESS;
}
int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t bytes, void *stream) { return cuMemcpyDtoH_v2(to, from, bytes); }

// Rows that lie apart, as CUDA_MEMCPY2D has them.
struct side { size_t x, y; int kind; void *host; uint64_t device; void *array; size_t pitch; };
struct rows { struct side from, to; size_t width, height; };
int cuMemcpy2DAsync_v2(const struct rows *rows, void *stream) {
    const struct side *from = &rows->from, *to = &rows->to;
    char *source = from->kind == 1 ? from->host : (char *)from->device, *target = to->kind == 1 ? to->host : (char *)to->device;
    for (size_t row = 0; row < rows->height; row++)
        memcpy(target + (to->y + row) * to->pitch + to->x, source + (from->y + row) * from->pitch + from->x, rows->width);
    return SUCCESS;
}

// ---- streams and events: all is done when the call is

int cuStreamCreate(void **stream, unsigned flags) { *stream = malloc(8); return SUCCESS; }
int cuStreamCreateWithPriority(void **stream, unsigned flags, int priority) { return cuStreamCreate(stream, flags); }
int cuStreamDestroy_v2(void *stream) { return SUCCESS; }
int cuStreamSynchronize(void *stream) { return SUCCESS; }
int cuStreamQuery(void *stream) { return SUCCESS; }
int cuStreamWaitEvent(void *stream, void *event, unsigned flags) { return SUCCESS; }
int cuStreamIsCapturing(void *stream, int *is) { *is = 0; return SUCCESS; }

// Whatever is measured takes 20 ms: what repeats a launch until it takes long enough to be measured, some milliseconds, needs no more.
int cuEventCreate(void **event, unsigned flags) { *event = malloc(8); return SUCCESS; }
int cuEventRecord(void *event, void *stream) { return SUCCESS; }
int cuEventSynchronize(void *event) { return SUCCESS; }
int cuEventQuery(void *event) { return SUCCESS; }
int cuEventDestroy_v2(void *event) { free(event); return SUCCESS; }
int cuEventElapsedTime(float *ms, void *from, void *to) { *ms = 20.0f; return SUCCESS; }
int cuEventElapsedTime_v2(float *ms, void *from, void *to) { return cuEventElapsedTime(ms, from, to); }

// ---- kernels: a function is its name

int cuModuleLoadData(void **module, const void *image) { *module = malloc(8); return SUCCESS; }
int cuModuleUnload(void *module) { return SUCCESS; }
int cuModuleGetFunction(void **function, void *module, const char *name) {
    *function = strdup(name);
    say("LOADED", name, 1);
    return SUCCESS;
}
int cuFuncLoad(void *function) { return SUCCESS; }
int cuFuncSetAttribute(void *function, int attribute, int value) { return SUCCESS; }
int cuFuncGetAttribute(int *value, int attribute, void *function) { *value = 64; return SUCCESS; }
int cuOccupancyMaxActiveBlocksPerMultiprocessor(int *count, void *function, int threads, size_t shared) { *count = 4; return SUCCESS; }
static int launch(const char *name, size_t blocks) {
    say("LAUNCHED", name, blocks);
    // Its rate is taken by the host's clock, and what takes no time is asked to do more until the number of rounds overflows.
    if (strncmp(name, "compute_direct_throughput", 25) == 0) usleep(20000);
    return SUCCESS;
}
int cuLaunchKernel(void *function, unsigned x, unsigned y, unsigned z, unsigned threads_x, unsigned threads_y, unsigned threads_z,
                   unsigned shared, void *stream, void **arguments, void **more) {
    return launch(function, (size_t)x * y * z);
}
// Of the configuration only the grid is read, its first three numbers.
int cuLaunchKernelEx(const unsigned *configuration, void *function, void **arguments, void **more) {
    return launch(function, (size_t)configuration[0] * configuration[1] * configuration[2]);
}
int cuTensorMapEncodeTiled(void) { return SUCCESS; }
int cuTensorMapEncodeIm2col(void) { return SUCCESS; }

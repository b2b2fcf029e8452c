/* A stand-in for the NVIDIA driver's library, told by environment variables what to answer.
   STUB_GPUS: how many. STUB_INIT_ERROR, STUB_MEMORY_ERROR, STUB_PROCESS_ERROR: codes to return.
   STUB_V1_ONLY: no second version of the memory call. STUB_USED_GIB: used on GPU 0.
   STUB_PROCESSES: "own" (8 GiB by us, 1 by another), "foreign" (only other pids), "unsized".
   STUB_GRAPHICS: we draw too, and so does another (2 GiB). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GIB (1024ull * 1024 * 1024)
#define TOTAL (24 * GIB)
#define KEPT (GIB / 2)

typedef struct { unsigned long long total, free, used; } memory_v1;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } memory_v2;
typedef struct { unsigned pid; unsigned long long used; unsigned gpu, compute; } process;

static int handles[16];

static int number(const char *name, int otherwise) {
    const char *text = getenv(name);
    return text && *text ? atoi(text) : otherwise;
}
static int index_of(void *device) { return (int)((int *)device - handles); }
static unsigned long long used(void *device) {
    return index_of(device) == 0 ? number("STUB_USED_GIB", 10) * GIB : 2 * GIB;
}

int nvmlInitWithFlags(unsigned flags) { (void)flags; return number("STUB_INIT_ERROR", 0); }
int nvmlShutdown(void) { return 0; }
const char *nvmlErrorString(int code) { (void)code; return "stub error"; }
int nvmlSystemGetDriverVersion(char *version, unsigned length) {
    strncpy(version, "550.54.14", length);
    return 0;
}
int nvmlDeviceGetCount_v2(unsigned *count) { *count = number("STUB_GPUS", 1); return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **device) { *device = &handles[i]; return 0; }
int nvmlDeviceGetName(void *device, char *name, unsigned length) {
    snprintf(name, length, "Stub GPU %d", index_of(device));
    return 0;
}
int nvmlDeviceGetUUID(void *device, char *uuid, unsigned length) {
    snprintf(uuid, length, "GPU-%d%d%d%d-stub", index_of(device), 1, 2, 3);
    return 0;
}
int nvmlDeviceGetHandleByUUID(const char *uuid, void **device) {
    if (strncmp(uuid, "MIG-", 4)) return 6;
    *device = &handles[9];
    return 0;
}
int nvmlDeviceGetMemoryInfo(void *device, memory_v1 *info) {
    info->total = TOTAL;
    info->used = used(device) + KEPT;
    info->free = TOTAL - info->used;
    return number("STUB_MEMORY_ERROR", 0);
}
int nvmlDeviceGetMemoryInfo_v2(void *device, memory_v2 *info) {
    if (number("STUB_V1_ONLY", 0)) return 13;
    info->total = TOTAL;
    info->reserved = KEPT;
    info->used = used(device);
    info->free = TOTAL - KEPT - info->used;
    return number("STUB_MEMORY_ERROR", 0);
}
int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned *count, process *list) {
    const char *kind = getenv("STUB_PROCESSES");
    int error = number("STUB_PROCESS_ERROR", 0);
    (void)device;
    if (error) return error;
    if (!kind || !*kind) { *count = 0; return 0; }
    if (*count < 2) { *count = 2; return 7; }
    memset(list, 0, 2 * sizeof *list);
    list[0].pid = strcmp(kind, "foreign") ? (unsigned)getpid() : 4000001u;
    list[0].used = strcmp(kind, "unsized") ? 8 * GIB : ~0ull;
    list[1].pid = 4000002u;
    list[1].used = 1 * GIB;
    *count = 2;
    return 0;
}
int nvmlDeviceGetGraphicsRunningProcesses_v3(void *device, unsigned *count, process *list) {
    (void)device;
    if (!number("STUB_GRAPHICS", 0)) return 3;
    if (*count < 2) { *count = 2; return 7; }
    memset(list, 0, 2 * sizeof *list);
    list[0].pid = (unsigned)getpid();
    list[0].used = 8 * GIB;
    list[1].pid = 4000003u;
    list[1].used = 2 * GIB;
    *count = 2;
    return 0;
}

/* A libnvidia-ml.so.1 that answers from a text file, so that the real binding sees any host without a GPU.
 *
 * NVML_ANSWERS names the file. A line is `key=value`; a device's keys start with its number and a dot, a MIG slice's
 * with `<device>.mig<slice>.`. A value `!15` is the error 15. `hang=<function>` (or `hang=1.<function>`, of one
 * device) makes a function sleep for ever, `crash=<function>` ends the process as a broken driver does. Memory is in bytes, "total free reserved"; processes
 * are "pid:bytes:name" separated by commas, bytes "-" for not available. With -DOLD_DRIVER the functions that came
 * after driver 450 are not exported at all.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SUCCESS = 0, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7 };

typedef struct { char prefix[32]; } device;
typedef struct { unsigned long long total, free, used; } memory_v1;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } memory_v2;
typedef struct { unsigned pid; unsigned long long bytes; unsigned gpu_instance, compute_instance; } process_v2;
typedef struct {
    char legacy[16];
    unsigned domain, bus, slot, device_id, subsystem_id;
    char bus_id[32];
} pci;

static device devices[64];

static int lookup(const char *prefix, const char *key, char *value, size_t size) {
    char wanted[96], line[512];
    int found = 0;
    const char *path = getenv("NVML_ANSWERS");
    FILE *file = path ? fopen(path, "r") : NULL;
    if (!file) return 0;
    snprintf(wanted, sizeof wanted, "%s%s=", prefix, key);
    while (!found && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        if (strncmp(line, wanted, strlen(wanted)) == 0) {
            snprintf(value, size, "%s", line + strlen(wanted));
            found = 1;
        }
    }
    fclose(file);
    return found;
}

static void misbehave(const char *function, const char *prefix) {
    char value[96], call[96];
    snprintf(call, sizeof call, "%s%s", prefix, function);
    if (lookup("", "hang", value, sizeof value) && strcmp(value, call) == 0) for (;;) pause();
    if (lookup("", "crash", value, sizeof value) && strcmp(value, call) == 0) abort();
}

/* Read a value; an error number when the file says so, `missing` when it has no such line. */
static int answer(const char *function, const char *prefix, const char *key, char *value, size_t size, int missing) {
    misbehave(function, prefix);
    if (!lookup(prefix, key, value, size)) return missing;
    return value[0] == '!' ? atoi(value + 1) : SUCCESS;
}

static device *remember(const char *prefix) {
    for (int i = 0; i < 64; i++) {
        if (devices[i].prefix[0] == 0) snprintf(devices[i].prefix, sizeof devices[i].prefix, "%s", prefix);
        if (strcmp(devices[i].prefix, prefix) == 0) return &devices[i];
    }
    return NULL;
}

static int text(const char *function, const char *prefix, const char *key, char *out, unsigned length) {
    return answer(function, prefix, key, out, length, NOT_SUPPORTED);
}

static int number(const char *function, const char *prefix, const char *key, int *out, int missing) {
    char value[64];
    int status = answer(function, prefix, key, value, sizeof value, missing);
    if (status == SUCCESS) *out = atoi(value);
    return status;
}

int nvmlInitWithFlags(unsigned flags) {
    char value[64];
    (void)flags;
    return answer(__func__, "", "init", value, sizeof value, SUCCESS);
}

int nvmlShutdown(void) { return SUCCESS; }

int nvmlSystemGetDriverVersion(char *out, unsigned length) { return text(__func__, "", "driver", out, length); }

int nvmlSystemGetCudaDriverVersion(int *out) { return number(__func__, "", "cuda", out, NOT_SUPPORTED); }

int nvmlSystemGetProcessName(unsigned pid, char *out, unsigned length) {
    char key[32];
    snprintf(key, sizeof key, "process.%u", pid);
    return answer(__func__, "", key, out, length, NOT_FOUND);
}

int nvmlDeviceGetCount_v2(unsigned *out) { return number(__func__, "", "count", (int *)out, NOT_SUPPORTED); }

int nvmlDeviceGetHandleByIndex_v2(unsigned index, device **out) {
    char prefix[32], value[64];
    snprintf(prefix, sizeof prefix, "%u.", index);
    *out = remember(prefix);
    return answer(__func__, prefix, "handle", value, sizeof value, SUCCESS);
}

int nvmlDeviceGetName(device *d, char *out, unsigned length) { return text(__func__, d->prefix, "name", out, length); }

int nvmlDeviceGetUUID(device *d, char *out, unsigned length) { return text(__func__, d->prefix, "uuid", out, length); }

int nvmlDeviceGetPciInfo_v3(device *d, pci *out) {
    memset(out, 0, sizeof *out);
    return text(__func__, d->prefix, "pci", out->bus_id, sizeof out->bus_id);
}

static int read_memory(const char *function, device *d, unsigned long long *total, unsigned long long *free_bytes,
                       unsigned long long *reserved) {
    char value[128];
    int status = answer(function, d->prefix, "memory", value, sizeof value, NOT_SUPPORTED);
    if (status == SUCCESS && sscanf(value, "%llu %llu %llu", total, free_bytes, reserved) != 3) abort();
    return status;
}

int nvmlDeviceGetMemoryInfo(device *d, memory_v1 *out) {
    unsigned long long reserved = 0;
    int status = read_memory(__func__, d, &out->total, &out->free, &reserved);
    out->used = out->total - out->free;
    return status;
}

int nvmlDeviceGetDisplayActive(device *d, int *out) {
    return number(__func__, d->prefix, "display", out, NOT_SUPPORTED);
}

/* The size of an array element is the caller's: every version after the first has the layout of process_v2. */
static int read_processes(const char *function, device *d, unsigned *count, process_v2 *out) {
    char value[512];
    unsigned filled = 0;
    int status = answer(function, d->prefix, "processes", value, sizeof value, SUCCESS);
    if (status != SUCCESS) return status;
    if (!lookup(d->prefix, "processes", value, sizeof value)) value[0] = 0;
    if (value[0] && !out) { *count = 8; return INSUFFICIENT_SIZE; }
    for (char *item = strtok(value, ","); item && filled < *count; item = strtok(NULL, ","), filled++) {
        char *bytes = strchr(item, ':') + 1;
        memset(&out[filled], 0, sizeof out[filled]);
        out[filled].pid = (unsigned)atoi(item);
        out[filled].bytes = bytes[0] == '-' ? ~0ULL : strtoull(bytes, NULL, 10);
    }
    *count = filled;
    return SUCCESS;
}

int nvmlDeviceGetComputeRunningProcesses_v2(device *d, unsigned *count, process_v2 *out) {
    return read_processes(__func__, d, count, out);
}

int nvmlDeviceGetCudaComputeCapability(device *d, int *major, int *minor) {
    char value[64];
    int status = answer(__func__, d->prefix, "cc", value, sizeof value, NOT_SUPPORTED);
    if (status == SUCCESS && sscanf(value, "%d.%d", major, minor) != 2) abort();
    return status;
}

#ifndef OLD_DRIVER
int nvmlSystemGetCudaDriverVersion_v2(int *out) { return number(__func__, "", "cuda", out, NOT_SUPPORTED); }

int nvmlDeviceGetMemoryInfo_v2(device *d, memory_v2 *out) {
    int status;
    if (out->version != 0x02000028) return 25;
    status = read_memory(__func__, d, &out->total, &out->free, &out->reserved);
    out->used = out->total - out->free - out->reserved;
    return status;
}

int nvmlDeviceGetComputeRunningProcesses_v3(device *d, unsigned *count, process_v2 *out) {
    return read_processes(__func__, d, count, out);
}

int nvmlDeviceGetMigMode(device *d, unsigned *current, unsigned *pending) {
    int status = number(__func__, d->prefix, "mig", (int *)current, NOT_SUPPORTED);
    *pending = *current;
    return status;
}

int nvmlDeviceGetMaxMigDeviceCount(device *d, unsigned *out) {
    (void)d;
    *out = 7;
    return SUCCESS;
}

int nvmlDeviceGetMigDeviceHandleByIndex(device *d, unsigned index, device **out) {
    char prefix[64], value[64];
    snprintf(prefix, sizeof prefix, "%smig%u.", d->prefix, index);
    if (!lookup(prefix, "uuid", value, sizeof value)) return NOT_FOUND;
    *out = remember(prefix);
    return SUCCESS;
}
#endif

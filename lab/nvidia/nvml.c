/* libnvidia-ml.so.1 of the lab: NVML calls answered from text files, for hosts without a GPU.

   Each call reads them anew: first STATE, which nvidia-simulate writes, then VALUES, recorded on a real H200. The form
   of both is told at the head of VALUES (lab/nvidia/h200). Functions, structures and numbers are those of the NVML API
   reference (R580); a function that is not here is one that an older library does not have. */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* The tests compile with a directory of their own as ROOT. */
#define VALUES ROOT "/usr/share/nvidia-simulate/h200"
#define STATE ROOT "/var/lib/nvidia-simulate/state"
#define MODULE ROOT "/proc/driver/nvidia/version"
#define PERSISTENCED ROOT "/run/nvidia-persistenced/nvidia-persistenced.pid"
#define MACHINE_ID ROOT "/etc/machine-id"

enum {
    SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7, DRIVER_NOT_LOADED = 9,
    TIMEOUT = 10, GPU_IS_LOST = 15, LIB_RM_VERSION_MISMATCH = 18
};
enum { UNSIGNED_LONG_LONG = 3, KEY = 64, LINE = 256 };

typedef unsigned int uint;
typedef unsigned long long wide;
typedef struct gpu *Gpu; /* its index, counted from 1: a handle is not null; above, a MIG device's, counted likewise */

static int index_of(Gpu gpu) { return ((intptr_t)gpu & 0xffff) - 1; }
static int mig_of(Gpu gpu) { return (int)((intptr_t)gpu >> 16) - 1; }
static Gpu handle_of(int index) { return (Gpu)(intptr_t)(index + 1); }
static Gpu mig_handle_of(int index, int mig) { return (Gpu)(intptr_t)((mig + 1) << 16 | (index + 1)); }

/* ---- values ---- */

static int find(const char *path, const char *key, char *value) {
    char line[LINE];
    size_t length = strlen(key);
    int found = 0;
    FILE *file = fopen(path, "r");
    if (!file) return 0;
    while (!found && fgets(line, sizeof line, file))
        if (!strncmp(line, key, length) && line[length] == '=') {
            line[strcspn(line, "\n")] = 0;
            strcpy(value, line + length + 1);
            found = 1;
        }
    fclose(file);
    return found;
}

static int lookup(Gpu gpu, const char *key, char *value) {
    char own[LINE];
    if (mig_of(gpu) >= 0) {
        snprintf(own, sizeof own, "gpu.%d.mig.%d.%s", index_of(gpu), mig_of(gpu), key);
        return find(STATE, own, value) || find(VALUES, own, value);
    }
    snprintf(own, sizeof own, "gpu.%d.%s", index_of(gpu), key);
    return find(STATE, own, value) || find(STATE, key, value) || find(VALUES, own, value) || find(VALUES, key, value);
}

/* Every call for a GPU comes by here. */
static int lost(Gpu gpu) {
    char value[LINE];
    struct timespec wait = {0, 10000000};
    while (lookup(gpu, "hang", value) && strcmp(value, "0")) nanosleep(&wait, NULL);
    return lookup(gpu, "lost", value) && strcmp(value, "0");
}

static int text(Gpu gpu, const char *key, char *out, uint size) {
    char value[LINE];
    if (lost(gpu)) return GPU_IS_LOST;
    if (!lookup(gpu, key, value)) return NOT_SUPPORTED;
    if (strlen(value) >= size) return INSUFFICIENT_SIZE;
    strcpy(out, value);
    return SUCCESS;
}

/* A number, or one that grows: VALUE+PER_SECOND@SINCE. */
static int number(Gpu gpu, const char *key, wide *out) {
    char value[LINE], *rest;
    int code = text(gpu, key, value, sizeof value);
    if (code != SUCCESS) return code;
    *out = strtoull(value, &rest, 0);
    if (*rest == '+') {
        wide rate = strtoull(rest + 1, &rest, 0);
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        double seconds = now.tv_sec + now.tv_nsec / 1e9 - (*rest == '@' ? strtod(rest + 1, NULL) : 0);
        *out += (wide)(rate * seconds);
    }
    return SUCCESS;
}

/* KEY.INDEX, or KEY where that is the same for all. */
static int number_at(Gpu gpu, const char *key, uint index, wide *out) {
    char one[LINE];
    snprintf(one, sizeof one, "%s.%u", key, index);
    int code = number(gpu, one, out);
    return code == NOT_SUPPORTED ? number(gpu, key, out) : code;
}

static uint count(void) {
    wide gpus = 0;
    number(handle_of(-1), "gpus", &gpus);
    return (uint)gpus;
}

/* ---- the library and its module ---- */

static int loaded(char *version) {
    char line[LINE] = "", *name;
    FILE *file = fopen(MODULE, "r");
    if (!file) return 0;
    name = fgets(line, sizeof line, file) ? strstr(line, "x86_64") : NULL;
    fclose(file);
    return name && sscanf(name, "x86_64 %31s", version) == 1;
}

int nvmlInit_v2(void) {
    char version[32];
    if (!loaded(version)) return DRIVER_NOT_LOADED;
    return strcmp(version, VERSION) ? LIB_RM_VERSION_MISMATCH : SUCCESS;
}

int nvmlInitWithFlags(uint flags) { (void)flags; return nvmlInit_v2(); }
int nvmlShutdown(void) { return SUCCESS; }

int nvmlSystemGetDriverVersion(char *out, uint size) { snprintf(out, size, "%s", VERSION); return SUCCESS; }
int nvmlSystemGetNVMLVersion(char *out, uint size) { snprintf(out, size, "13.%s", VERSION); return SUCCESS; }

int nvmlSystemGetCudaDriverVersion_v2(int *out) {
    wide value;
    int code = number(handle_of(-1), "cuda", &value);
    if (code == SUCCESS) *out = (int)value;
    return code;
}
int nvmlSystemGetCudaDriverVersion(int *out) { return nvmlSystemGetCudaDriverVersion_v2(out); }

/* ---- GPUs ---- */

int nvmlDeviceGetCount_v2(uint *out) { *out = count(); return SUCCESS; }

int nvmlDeviceGetHandleByIndex_v2(uint index, Gpu *out) {
    if (index >= count()) return INVALID_ARGUMENT;
    *out = handle_of((int)index);
    return lost(*out) ? GPU_IS_LOST : SUCCESS;
}

int nvmlDeviceGetIndex(Gpu gpu, uint *out) { *out = (uint)index_of(gpu); return lost(gpu) ? GPU_IS_LOST : SUCCESS; }
int nvmlDeviceGetMinorNumber(Gpu gpu, uint *out) { return nvmlDeviceGetIndex(gpu, out); }

/* The recorded one is blank: it is made of the host's machine id here, so that no two hosts of the lab share one. */
int nvmlDeviceGetUUID(Gpu gpu, char *out, uint size) {
    char id[LINE] = "00000000000000000000000000000000";
    if (mig_of(gpu) >= 0) return text(gpu, "uuid", out, size);
    FILE *file = fopen(MACHINE_ID, "r");
    if (file) {
        if (!fgets(id, sizeof id, file)) id[0] = 0;
        fclose(file);
    }
    if (lost(gpu)) return GPU_IS_LOST;
    snprintf(out, size, "GPU-%.8s-%.4s-%.4s-%.4s-%.10s%02x", id, id + 8, id + 12, id + 16, id + 20, index_of(gpu));
    return SUCCESS;
}

int nvmlDeviceGetHandleByUUID(const char *uuid, Gpu *out) {
    char each[96];
    for (uint index = 0; index < count(); index++)
        if (nvmlDeviceGetUUID(handle_of((int)index), each, sizeof each) == SUCCESS && !strcmp(each, uuid))
            return nvmlDeviceGetHandleByIndex_v2(index, out);
    return NOT_FOUND;
}

struct pci { char legacy[16]; uint domain, bus, device, id, subsystem; char name[32]; };

int nvmlDeviceGetPciInfo_v3(Gpu gpu, struct pci *out) {
    wide id = 0, subsystem = 0;
    memset(out, 0, sizeof *out);
    int code = text(gpu, "pci", out->name, sizeof out->name);
    if (code != SUCCESS) return code;
    number(gpu, "pci_device_id", &id);
    number(gpu, "pci_subsystem_id", &subsystem);
    sscanf(out->name, "%x:%x:%x", &out->domain, &out->bus, &out->device);
    snprintf(out->legacy, sizeof out->legacy, "%04X:%02X:%02X.0", out->domain & 0xffff, out->bus & 0xff,
             out->device & 0xff);
    out->id = (uint)id;
    out->subsystem = (uint)subsystem;
    return SUCCESS;
}

int nvmlDeviceGetPersistenceMode(Gpu gpu, uint *out) {
    *out = access(PERSISTENCED, F_OK) == 0;
    return lost(gpu) ? GPU_IS_LOST : SUCCESS;
}

#define TEXT(function, key) int function(Gpu gpu, char *out, uint size) { return text(gpu, key, out, size); }
TEXT(nvmlDeviceGetName, "name")
TEXT(nvmlDeviceGetSerial, "serial")
TEXT(nvmlDeviceGetVbiosVersion, "vbios")
TEXT(nvmlDeviceGetBoardPartNumber, "board_part")

#define STORE(type, call) { wide value; int code = call; if (code == SUCCESS) *out = (type)value; return code; }
#define NUMBER(function, type, key) int function(Gpu gpu, type *out) STORE(type, number(gpu, key, &value))
NUMBER(nvmlDeviceGetPowerUsage, uint, "power")
NUMBER(nvmlDeviceGetPowerManagementLimit, uint, "power_limit")
NUMBER(nvmlDeviceGetEnforcedPowerLimit, uint, "power_limit")
NUMBER(nvmlDeviceGetTotalEnergyConsumption, wide, "energy")
NUMBER(nvmlDeviceGetPerformanceState, uint, "performance_state")
NUMBER(nvmlDeviceGetCurrentClocksEventReasons, wide, "clock_reasons")
NUMBER(nvmlDeviceGetCurrentClocksThrottleReasons, wide, "clock_reasons")
NUMBER(nvmlDeviceGetCurrPcieLinkWidth, uint, "pcie_width")
NUMBER(nvmlDeviceGetMaxPcieLinkWidth, uint, "pcie_width_max")
NUMBER(nvmlDeviceGetCurrPcieLinkGeneration, uint, "pcie_generation")
NUMBER(nvmlDeviceGetMaxPcieLinkGeneration, uint, "pcie_generation_max")
NUMBER(nvmlDeviceGetPcieReplayCounter, uint, "pcie_replays")
NUMBER(nvmlDeviceGetSupportedEventTypes, wide, "event_types")
NUMBER(nvmlDeviceGetMaxMigDeviceCount, uint, "mig_devices_max")

#define NUMBER_AT(function, type, key) \
    int function(Gpu gpu, uint index, type *out) STORE(type, number_at(gpu, key, index, &value))
NUMBER_AT(nvmlDeviceGetTemperature, uint, "temperature")
NUMBER_AT(nvmlDeviceGetClockInfo, uint, "clock")
NUMBER_AT(nvmlDeviceGetMaxClockInfo, uint, "clock_max")
NUMBER_AT(nvmlDeviceGetPcieThroughput, uint, "pcie_throughput")

#define PAIR(function, type, first_key, second_key) \
    int function(Gpu gpu, type *first, type *second) { \
        wide one, other; \
        int code = number(gpu, first_key, &one); \
        if (code == SUCCESS) code = number(gpu, second_key, &other); \
        if (code == SUCCESS) { *first = (type)one; *second = (type)other; } \
        return code; \
    }
PAIR(nvmlDeviceGetEccMode, uint, "ecc_mode", "ecc_mode_pending")
PAIR(nvmlDeviceGetMigMode, uint, "mig_mode", "mig_mode_pending")
PAIR(nvmlDeviceGetCudaComputeCapability, int, "compute_major", "compute_minor")
PAIR(nvmlDeviceGetEncoderUtilization, uint, "encoder", "encoder_period")

struct utilization { uint gpu, memory; };
int nvmlDeviceGetUtilizationRates(Gpu gpu, struct utilization *out) {
    wide busy, memory;
    int code = number(gpu, "utilization", &busy);
    if (code == SUCCESS) code = number(gpu, "utilization_memory", &memory);
    if (code == SUCCESS) *out = (struct utilization){(uint)busy, (uint)memory};
    return code;
}

/* What NVML keeps for itself counts as used in the first form and has a place of its own in the second. */
struct memory { wide total, free, used; };
struct memory_v2 { uint version; wide total, reserved, free, used; };

int nvmlDeviceGetMemoryInfo_v2(Gpu gpu, struct memory_v2 *out) {
    int code = number(gpu, "memory", &out->total);
    if (code == SUCCESS) code = number(gpu, "memory_reserved", &out->reserved);
    if (code == SUCCESS) code = number(gpu, "memory_used", &out->used);
    if (code == SUCCESS) out->free = out->total - out->reserved - out->used;
    return code;
}

int nvmlDeviceGetMemoryInfo(Gpu gpu, struct memory *out) {
    struct memory_v2 all;
    int code = nvmlDeviceGetMemoryInfo_v2(gpu, &all);
    if (code == SUCCESS) *out = (struct memory){all.total, all.free, all.used + all.reserved};
    return code;
}

struct temperature { uint version, sensor; int celsius; };
int nvmlDeviceGetTemperatureV(Gpu gpu, struct temperature *out) {
    return nvmlDeviceGetTemperature(gpu, out->sensor, (uint *)&out->celsius);
}

struct margin { uint version; int celsius; };
int nvmlDeviceGetMarginTemperature(Gpu gpu, struct margin *margin) {
    int *out = &margin->celsius;
    STORE(int, number(gpu, "temperature_margin", &value))
}

/* ---- faults of memory and links ---- */

int nvmlDeviceGetTotalEccErrors(Gpu gpu, uint type, uint scope, wide *out) {
    char key[KEY];
    snprintf(key, sizeof key, "ecc.%u.%u", type, scope);
    return number(gpu, key, out);
}

int nvmlDeviceGetMemoryErrorCounter(Gpu gpu, uint type, uint scope, uint location, wide *out) {
    char key[KEY];
    snprintf(key, sizeof key, "ecc.%u.%u.%u", type, scope, location);
    return number(gpu, key, out);
}

int nvmlDeviceGetRemappedRows(Gpu gpu, uint *correctable, uint *uncorrectable, uint *pending, uint *failure) {
    const char *keys[] = {"remap_correctable", "remap_uncorrectable", "remap_pending", "remap_failure"};
    uint *out[] = {correctable, uncorrectable, pending, failure};
    for (int each = 0; each < 4; each++) {
        wide value;
        int code = number(gpu, keys[each], &value);
        if (code != SUCCESS) return code;
        *out[each] = (uint)value;
    }
    return SUCCESS;
}

int nvmlDeviceGetNvLinkState(Gpu gpu, uint link, uint *out) {
    wide links = 0;
    int code = number(gpu, "nvlinks", &links);
    if (code != SUCCESS) return code;
    if (link >= links) return INVALID_ARGUMENT;
    STORE(uint, number_at(gpu, "nvlink", link, &value))
}

int nvmlDeviceGetNvLinkErrorCounter(Gpu gpu, uint link, uint counter, wide *out) {
    uint up;
    int code = nvmlDeviceGetNvLinkState(gpu, link, &up);
    return code == SUCCESS ? number_at(gpu, "nvlink_errors", counter, out) : code;
}

struct violation { wide reference, nanoseconds; };
int nvmlDeviceGetViolationStatus(Gpu gpu, uint policy, struct violation *out) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    out->reference = (wide)now.tv_sec * 1000000 + (wide)now.tv_nsec / 1000;
    return number_at(gpu, "violation", policy, &out->nanoseconds);
}

struct fabric { uint version; unsigned char cluster[16]; uint status, clique, state, health; };
int nvmlDeviceGetGpuFabricInfoV(Gpu gpu, struct fabric *out) {
    wide state;
    int code = number(gpu, "fabric_state", &state);
    if (code != SUCCESS) return code;
    memset(out->cluster, 0, sizeof *out - sizeof out->version);
    out->state = (uint)state;
    return SUCCESS;
}

struct field { uint id, scope; int64_t timestamp, latency; uint type, code; wide value; };
int nvmlDeviceGetFieldValues(Gpu gpu, int fields, struct field *out) {
    if (lost(gpu)) return GPU_IS_LOST;
    for (struct field *each = out; each < out + fields; each++) {
        char key[KEY];
        snprintf(key, sizeof key, "field.%u", each->id);
        each->type = UNSIGNED_LONG_LONG;
        each->code = (uint)number_at(gpu, key, each->scope, &each->value);
    }
    return SUCCESS;
}

/* ---- processes and MIG devices, where STATE has some ---- */

struct process { uint pid; wide memory; uint gpu_instance, compute_instance; };
int nvmlDeviceGetComputeRunningProcesses_v3(Gpu gpu, uint *out, struct process *processes) {
    uint room = *out;
    if (lost(gpu)) return GPU_IS_LOST;
    for (*out = 0;; ++*out) {
        char key[KEY];
        wide pid, memory = 0;
        snprintf(key, sizeof key, "process.%u.pid", *out);
        if (number(gpu, key, &pid) != SUCCESS) break;
        snprintf(key, sizeof key, "process.%u.memory", *out);
        number(gpu, key, &memory);
        if (*out < room) processes[*out] = (struct process){(uint)pid, memory, 0, 0};
    }
    return *out > room ? INSUFFICIENT_SIZE : SUCCESS;
}

int nvmlDeviceGetMigDeviceHandleByIndex(Gpu gpu, uint index, Gpu *out) {
    char value[LINE];
    *out = mig_handle_of(index_of(gpu), (int)index);
    return lookup(*out, "memory", value) ? SUCCESS : NOT_FOUND;
}

/* ---- events: none ever ---- */

int nvmlEventSetCreate(void **out) { *out = out; return SUCCESS; }
int nvmlEventSetFree(void *set) { (void)set; return SUCCESS; }
int nvmlDeviceRegisterEvents(Gpu gpu, wide types, void *set) {
    (void)types, (void)set;
    return lost(gpu) ? GPU_IS_LOST : SUCCESS;
}

int nvmlEventSetWait_v2(void *set, void *event, uint milliseconds) {
    struct timespec wait = {milliseconds / 1000, milliseconds % 1000 * 1000000L};
    (void)set, (void)event;
    nanosleep(&wait, NULL);
    return TIMEOUT;
}

/* ---- GPM: a sample remembers whose it is ---- */

struct support { uint version, supported; };
int nvmlGpmQueryDeviceSupport(Gpu gpu, struct support *out) {
    out->supported = 1;
    return lost(gpu) ? GPU_IS_LOST : SUCCESS;
}

int nvmlGpmSampleAlloc(Gpu **out) { *out = calloc(1, sizeof **out); return SUCCESS; }
int nvmlGpmSampleFree(Gpu *sample) { free(sample); return SUCCESS; }
int nvmlGpmSampleGet(Gpu gpu, Gpu *sample) { *sample = gpu; return lost(gpu) ? GPU_IS_LOST : SUCCESS; }

struct metric { uint id, code; double value; const char *names[3]; };
struct metrics { uint version, count; Gpu *first, *second; struct metric each[]; };
int nvmlGpmMetricsGet(struct metrics *out) {
    for (struct metric *each = out->each; each < out->each + out->count; each++) {
        wide value = 0;
        each->code = (uint)number_at(*out->first, "gpm", each->id, &value);
        each->value = (double)value;
    }
    return SUCCESS;
}

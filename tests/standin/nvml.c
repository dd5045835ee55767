/* A stand-in for NVIDIA's libnvidia-ml.so.1, for tests of what drives it through pynvml.

   It reads a script anew at each call, from the file that STANDIN_NVML names, so that a test
   changes devices, processes and failures while something samples them. A line each:

     gpu INDEX UUID TOTAL RESERVED USED NAME...   sizes in bytes
     mig GPU INDEX UUID TOTAL USED                an instance of that GPU
     process GPU PID BYTES                        -1 for "not available"
     fail FUNCTION CODE                           from now on it answers so; * for all of them
     sleep FUNCTION SECONDS                       before it answers
     driver VERSION

   Built with -DOLD it lacks what a driver of 2019 lacks, with -DNO_INIT even nvmlInitWithFlags.
   Numbers and layouts are those of nvml.h as nvidia-ml-py declares them. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7 };
enum { GPUS = 32, MIGS = 8 };
typedef unsigned long long u64;
typedef struct { u64 total, free, used; } Memory;
typedef struct { unsigned version; u64 total, reserved, free, used; } Memory2;
typedef struct { unsigned pid; u64 used; unsigned gpu_instance, compute_instance; } Process;
typedef struct {
  char bus_legacy[16];
  unsigned domain, bus, device, pci_device, pci_subsystem;
  char bus_id[32];
} Pci;
typedef struct { int is; char uuid[96], name[96]; u64 total, reserved, used; } Device;
typedef struct { int gpu; long long pid, used; } Running;
typedef struct {
  Device gpu[GPUS], mig[GPUS][MIGS];
  Running running[256];
  int processes, code;
  double sleep;
  char driver[64];
} Script;

static int load(Script *script, const char *function) {
  char line[512], name[128];
  memset(script, 0, sizeof *script);
  strcpy(script->driver, "570.86.15");
  const char *path = getenv("STANDIN_NVML");
  FILE *file = path ? fopen(path, "r") : NULL;
  while (file && fgets(line, sizeof line, file)) {
    int gpu = 0, index = 0, code = 0;
    double seconds = 0;
    Device device = {.is = 1};
    Running running;
    if (sscanf(line, "gpu %d %95s %llu %llu %llu %95[^\n]", &index, device.uuid, &device.total,
               &device.reserved, &device.used, device.name) == 6 && index >= 0 && index < GPUS)
      script->gpu[index] = device;
    else if (sscanf(line, "mig %d %d %95s %llu %llu", &gpu, &index, device.uuid, &device.total,
                    &device.used) == 5 && gpu >= 0 && gpu < GPUS && index >= 0 && index < MIGS)
      strcpy(device.name, script->gpu[gpu].name), script->mig[gpu][index] = device;
    else if (sscanf(line, "process %d %lld %lld", &running.gpu, &running.pid, &running.used) == 3) {
      if (script->processes < 256) script->running[script->processes++] = running;
    } else if (sscanf(line, "fail %127s %d", name, &code) == 2) {
      if (!strcmp(name, function) || !strcmp(name, "*")) script->code = code;
    } else if (sscanf(line, "sleep %127s %lf", name, &seconds) == 2) {
      if (!strcmp(name, function) || !strcmp(name, "*")) script->sleep = seconds;
    } else
      sscanf(line, "driver %63s", script->driver);
  }
  if (file) fclose(file);
  if (script->sleep > 0) usleep((useconds_t)(script->sleep * 1e6));
  return script->code;
}

#define BEGIN                                     \
  Script script;                                  \
  int code = load(&script, __func__);             \
  if (code) return code

/* A handle is the number of a GPU, or of an instance past all GPUs, plus one. */
static Device *device_of(Script *script, void *handle) {
  long number = (long)handle - 1;
  if (number < 0 || number >= GPUS + GPUS * MIGS) return NULL;
  Device *found = number < GPUS ? &script->gpu[number]
                                : &script->mig[(number - GPUS) / MIGS][(number - GPUS) % MIGS];
  return found->is ? found : NULL;
}

static int gpu_of(void *handle) {
  long number = (long)handle - 1;
  return number < GPUS ? (int)number : (int)(number - GPUS) / MIGS;
}

__attribute__((unused)) static int is_mig(void *handle) { return (long)handle - 1 >= GPUS; }

static int put(char *out, unsigned room, const char *text) {
  if (strlen(text) + 1 > room) return INSUFFICIENT_SIZE;
  strcpy(out, text);
  return SUCCESS;
}

#ifndef NO_INIT
int nvmlInitWithFlags(unsigned flags) { BEGIN; (void)flags; return SUCCESS; }
#endif
int nvmlInit_v2(void) { BEGIN; return SUCCESS; }
int nvmlShutdown(void) { BEGIN; return SUCCESS; }

const char *nvmlErrorString(int code) { (void)code; return "an error that only the driver knows"; }

int nvmlSystemGetDriverVersion(char *out, unsigned room) { BEGIN; return put(out, room, script.driver); }

int nvmlDeviceGetCount_v2(unsigned *count) {
  BEGIN;
  for (*count = 0; *count < GPUS && script.gpu[*count].is; ++*count) {}
  return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle) {
  BEGIN;
  if (index >= GPUS || !script.gpu[index].is) return INVALID_ARGUMENT;
  *handle = (void *)(long)(index + 1);
  return SUCCESS;
}

int nvmlDeviceGetName(void *handle, char *out, unsigned room) {
  BEGIN;
  Device *device = device_of(&script, handle);
  return device ? put(out, room, device->name) : INVALID_ARGUMENT;
}

int nvmlDeviceGetUUID(void *handle, char *out, unsigned room) {
  BEGIN;
  Device *device = device_of(&script, handle);
  return device ? put(out, room, device->uuid) : INVALID_ARGUMENT;
}

int nvmlDeviceGetPciInfo_v3(void *handle, Pci *pci) {
  BEGIN;
  memset(pci, 0, sizeof *pci);
  pci->bus = 1 + gpu_of(handle);
  snprintf(pci->bus_id, sizeof pci->bus_id, "00000000:%02X:00.0", pci->bus);
  return SUCCESS;
}

/* As the driver has it: the first version counts what is reserved as used, the second does not. */
int nvmlDeviceGetMemoryInfo(void *handle, Memory *memory) {
  BEGIN;
  Device *device = device_of(&script, handle);
  if (!device) return INVALID_ARGUMENT;
  memory->total = device->total;
  memory->used = device->used + device->reserved;
  memory->free = device->total - memory->used;
  return SUCCESS;
}

#ifndef OLD
int nvmlDeviceGetMemoryInfo_v2(void *handle, Memory2 *memory) {
  BEGIN;
  Device *device = device_of(&script, handle);
  if (!device || memory->version != 0x02000028) return INVALID_ARGUMENT;
  memory->total = device->total;
  memory->reserved = device->reserved;
  memory->used = device->used;
  memory->free = device->total - device->used - device->reserved;
  return SUCCESS;
}

static int running_on(Script *script, void *handle, unsigned *count, Process *out) {
  unsigned found = 0, room = *count;
  for (int i = 0; i < script->processes; i++)
    if (script->running[i].gpu == gpu_of(handle)) {
      if (out && found < room) {
        memset(&out[found], 0, sizeof *out);
        out[found].pid = (unsigned)script->running[i].pid;
        out[found].used = (u64)script->running[i].used;
      }
      found++;
    }
  *count = found;
  return found > room || (found && !out) ? INSUFFICIENT_SIZE : SUCCESS;
}

int nvmlDeviceGetComputeRunningProcesses_v3(void *handle, unsigned *count, Process *out) {
  BEGIN;
  return running_on(&script, handle, count, out);
}

/* No program of the tests draws. */
int nvmlDeviceGetGraphicsRunningProcesses_v3(void *handle, unsigned *count, Process *out) {
  BEGIN;
  (void)handle, (void)out;
  *count = 0;
  return SUCCESS;
}

int nvmlDeviceGetMigMode(void *handle, unsigned *now, unsigned *pending) {
  BEGIN;
  if (!device_of(&script, handle) || is_mig(handle)) return INVALID_ARGUMENT;
  *now = *pending = 0;
  for (int i = 0; i < MIGS; i++) *now |= (unsigned)script.mig[gpu_of(handle)][i].is;
  return SUCCESS;
}

int nvmlDeviceGetMaxMigDeviceCount(void *handle, unsigned *count) {
  BEGIN;
  *count = is_mig(handle) ? 0 : MIGS;
  return SUCCESS;
}

int nvmlDeviceGetMigDeviceHandleByIndex(void *handle, unsigned index, void **mig) {
  BEGIN;
  int gpu = gpu_of(handle);
  if (is_mig(handle) || index >= MIGS) return INVALID_ARGUMENT;
  if (!script.mig[gpu][index].is) return NOT_FOUND;
  *mig = (void *)(long)(GPUS + gpu * MIGS + (int)index + 1);
  return SUCCESS;
}
#endif

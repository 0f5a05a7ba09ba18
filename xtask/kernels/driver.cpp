// A CUDA driver that runs this project's kernels on the processor and counts what it is asked for.
//
// It has the functions of libcuda that protem-cluster comes to call, one device of the compute
// capability that PROTEM_DRIVER_CAPABILITY says (90, which is 9.0) and as little memory as
// PROTEM_DRIVER_MEMORY does (64 MiB). Device memory is the host's. Module images are not looked at:
// the kernels were compiled in from the same sources. Each context, launch, copy and allocation is a line in
// the file that PROTEM_DRIVER_LOG names.
#include "processor.hpp"

#include <ctime>
#include <map>
#include <mutex>
#include <string>
#include <tuple>
#include <utility>

#include "instructions.cu"
#include "hopper.cu"
#include "pack.cu"
#include "pass.cu"
#include "pass_wgmma.cu"
#include "candidates.cu"
#include "decide.cu"
#include "rows.cu"
#include "sort.cu"
#include "means.cu"

namespace {
enum Result { Success = 0, Invalid = 1, OutOfMemory = 2, NotFound = 500 };
using Function = std::function<std::function<void()>(void**)>;

std::mutex mutex;
std::map<uint64_t, size_t> allocations;
size_t live;

// Arguments by the kernel's own types, copied as a driver copies them.
template <class... A, size_t... I>
Function bound(void (*kernel)(A...), std::index_sequence<I...>) {
    return [kernel](void** arguments) -> std::function<void()> {
        std::tuple<A...> values(*static_cast<A*>(arguments[I])...);
        return [kernel, values] { std::apply(kernel, values); };
    };
}
template <class... A>
Function bound(void (*kernel)(A...)) {
    return bound(kernel, std::index_sequence_for<A...>());
}
#define KERNEL(name) {#name, bound(name)}
std::map<std::string, Function> kernels = {
    KERNEL(pack_points),  KERNEL(pack_centroids), KERNEL(best_of_groups), KERNEL(take_candidates),
    KERNEL(decide),       KERNEL(count_digits),   KERNEL(sum_counts),     KERNEL(move_by_digit),
    KERNEL(find_begins),  KERNEL(mean_of_members), KERNEL(check_rows),    KERNEL(mean_of_rows),
    KERNEL(take_rows),    KERNEL(distances_to_row), KERNEL(add_members),  KERNEL(divide_sums),
    KERNEL(best_of_groups_wgmma)};
// Bytes of shared memory that a block may have: at first, by allowance, at most.
constexpr int SHARED = 48 << 10, MOST_SHARED = 227 << 10;
std::map<const void*, int> allowed;

size_t number(const char* name, size_t otherwise) {
    const char* set = std::getenv(name);
    return set ? std::strtoull(set, nullptr, 10) : otherwise;
}
size_t memory() { return number("PROTEM_DRIVER_MEMORY", size_t(64) << 20); }
int capability() { return int(number("PROTEM_DRIVER_CAPABILITY", 90)); }

void note(const char* what, const char* name, unsigned long long amount) {
    const char* path = std::getenv("PROTEM_DRIVER_LOG");
    if (!path) return;
    if (FILE* log = std::fopen(path, "a")) {
        std::fprintf(log, "%s %s %llu\n", what, name, amount);
        std::fclose(log);
    }
}

Result allocate(uint64_t* at, size_t bytes) {
    std::lock_guard guard(mutex);
    if (live + bytes > memory()) return OutOfMemory;
    // As the real one, it gives memory that holds anything.
    void* got = std::aligned_alloc(256, (bytes + 511) / 256 * 256);
    if (!got) return OutOfMemory;
    std::memset(got, 0xa5, bytes);
    *at = reinterpret_cast<uint64_t>(got);
    allocations[*at] = bytes;
    live += bytes;
    note("alloc", "-", bytes);
    note("live", "-", live);
    return Success;
}

Result release(uint64_t at) {
    std::lock_guard guard(mutex);
    auto found = allocations.find(at);
    if (found == allocations.end()) return Invalid;
    live -= found->second;
    allocations.erase(found);
    std::free(reinterpret_cast<void*>(at));
    return Success;
}

// Whether these bytes lie within one allocation.
bool inside(uint64_t at, size_t bytes) {
    auto after = allocations.upper_bound(at);
    if (after == allocations.begin()) return false;
    --after;
    return at + bytes <= after->first + after->second;
}

Result copy(const char* what, void* to, const void* from, size_t bytes, uint64_t device) {
    std::lock_guard guard(mutex);
    if (!inside(device, bytes)) return Invalid;
    std::memcpy(to, from, bytes);
    note(what, "-", bytes);
    return Success;
}
template <class T>
T* pointer(uint64_t at) {
    return reinterpret_cast<T*>(at);
}
} // namespace

extern "C" {
int cuInit(unsigned) { return Success; }
int cuDriverGetVersion(int* version) { return *version = 13000, Success; }
// NVRTC asks a driver that is there for tables of its own; this one has none.
int cuGetExportTable(const void** table, const void*) { return *table = nullptr, NotFound; }
int cuDeviceGetCount(int* count) { return *count = 1, Success; }
int cuDeviceGetName(char* name, int room, int) {
    std::snprintf(name, room, "the processor (test driver)");
    return Success;
}
int cuDeviceTotalMem_v2(size_t* bytes, int) { return *bytes = memory(), Success; }
int cuDeviceGet(int* device, int ordinal) { return ordinal ? 101 : (*device = 0, Success); }
int cuDeviceGetAttribute(int* value, int attribute, int) {
    // Multiprocessors; compute capability, its two parts; memory pools; else 1.
    if (attribute == 16) *value = 4;
    else *value = attribute == 75 ? capability() / 10 : attribute == 76 ? capability() % 10 : 1;
    return Success;
}
int cuDevicePrimaryCtxRetain(void** context, int) {
    note("context", "-", 1);
    return *context = &allocations, Success;
}
int cuDevicePrimaryCtxRelease_v2(int) { return Success; }
int cuCtxGetCurrent(void** context) { return *context = &allocations, Success; }
int cuCtxSetCurrent(void*) { return Success; }
int cuCtxSynchronize() { return Success; }
int cuStreamSynchronize(void*) { return Success; }
int cuStreamWaitEvent(void*, void*, unsigned) { return Success; }
int cuStreamIsCapturing(void*, int* status) { return *status = 0, Success; }
// An event is the time when it was recorded: nothing runs behind it.
int cuEventCreate(void** event, unsigned) { return *event = new timespec{}, Success; }
int cuEventRecord(void* event, void*) {
    return clock_gettime(CLOCK_MONOTONIC, static_cast<timespec*>(event)), Success;
}
int cuEventSynchronize(void*) { return Success; }
int cuEventElapsedTime_v2(float* milliseconds, void* from, void* to) {
    auto a = static_cast<timespec*>(from), b = static_cast<timespec*>(to);
    *milliseconds = float((b->tv_sec - a->tv_sec) * 1e3 + (b->tv_nsec - a->tv_nsec) / 1e6);
    return Success;
}
int cuEventDestroy_v2(void* event) {
    delete static_cast<timespec*>(event);
    return Success;
}
int cuMemGetInfo_v2(size_t* available, size_t* total) {
    *total = memory();
    *available = *total - live;
    return Success;
}
int cuMemAlloc_v2(uint64_t* at, size_t bytes) { return allocate(at, bytes); }
int cuMemAllocAsync(uint64_t* at, size_t bytes, void*) { return allocate(at, bytes); }
int cuMemFree_v2(uint64_t at) { return release(at); }
int cuMemFreeAsync(uint64_t at, void*) { return release(at); }
int cuMemsetD8Async(uint64_t at, unsigned char value, size_t bytes, void*) {
    std::lock_guard guard(mutex);
    if (!inside(at, bytes)) return Invalid;
    std::memset(pointer<void>(at), value, bytes);
    note("set", "-", bytes);
    return Success;
}
int cuMemcpyHtoDAsync_v2(uint64_t to, const void* from, size_t bytes, void*) {
    return copy("in", pointer<void>(to), from, bytes, to);
}
int cuMemcpyDtoHAsync_v2(void* to, uint64_t from, size_t bytes, void*) {
    return copy("out", to, pointer<void>(from), bytes, from);
}
int cuModuleLoadData(void** module, const void*) { return *module = &kernels, Success; }
int cuModuleUnload(void*) { return Success; }
int cuModuleGetFunction(void** function, void*, const char* name) {
    auto found = kernels.find(name);
    bool fits = found != kernels.end() && (capability() == 90 || !std::strstr(name, "wgmma"));
    if (!fits) return NotFound;
    *function = &*found;
    return Success;
}
int cuFuncSetAttribute(void* function, int attribute, int value) {
    std::lock_guard guard(mutex);
    // The most shared memory that a launch may ask for.
    if (attribute != 8 || value > MOST_SHARED) return Invalid;
    allowed[function] = value;
    return Success;
}
int cuLaunchKernel(void* function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                   unsigned bz, unsigned shared, void*, void** arguments, void**) {
    std::lock_guard guard(mutex);
    bool fits = gx && gy && gx < 1u << 31 && gy < 1u << 16 && bx && bx <= 1024;
    if (!fits || gz != 1 || by != 1 || bz != 1) return Invalid;
    auto may = allowed.find(function);
    if (shared > unsigned(may == allowed.end() ? SHARED : may->second)) return Invalid;
    auto& [name, bind] = *static_cast<std::pair<const std::string, Function>*>(function);
    processor::launch({gx, gy, gz}, {bx, by, bz}, shared, bind(arguments));
    note("launch", name.c_str(), (unsigned long long)gx * gy * bx);
    return Success;
}
int cuGetErrorName(int, const char** name) { return *name = "error of the test driver", Success; }
int cuGetErrorString(int, const char** name) { return *name = "error of the test driver", Success; }
}

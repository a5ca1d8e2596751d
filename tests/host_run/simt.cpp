// The threads of a block as fibers: scheduling, waiting, and a report of every deadlock.
//
// Environment, read at every launch (and see schedule.h):
//   HOST_RUN_BLOCKS      "last": only the last block of a grid, which has the highest indices
//   HOST_RUN_MAX_BLOCKS  the most blocks of a grid, 3 by default: every striding loop repeats
#include "simt.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <map>
#include <memory>
#include <mutex>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "fiber.h"
#include "mma.h"
#include "schedule.h"

namespace fairloss::host_run {

Position position;

namespace {

constexpr int kMaxThreads = 1024;
#if defined(HOST_RUN_ADDRESS) || defined(HOST_RUN_THREAD)
constexpr size_t kStack = 256 << 10;  // with a sanitizer's red zones between variables
#else
constexpr size_t kStack = 64 << 10;
#endif

enum class State { ready, at_barrier, in_collective, returned, failed };

struct Thread {
  Fiber fiber;
  State state;
  Collective kind;
  unsigned mask;
  uint64_t value, result;
  int source;
  void (*combine)(const uint64_t* values) = nullptr;
  Copies copies;
  uint64_t arrival;   // address for release(): before the thread waits
  uint64_t* meeting;  // address for acquire(): after all that it waited for
};

struct FreeDelete {
  void operator()(void* memory) const { std::free(memory); }
};
using Memory = std::unique_ptr<void, FreeDelete>;

struct Array {
  Memory memory;
  int64_t bytes;
};

// The current grid; there is one at a time.
std::mutex one_grid;
std::vector<Thread> threads;
Fiber main_fiber;
int current, num_threads;
std::string failure;  // of a thread that cannot continue
const std::function<void()>* kernel;
std::map<const void*, Array> arrays;  // by site; null: the dynamic one
char start_of_block, end_of_block;
uint64_t meetings[1 << 12];  // used in turn: all threads have left a meeting before its address is
                             // used again

Thread& self() { return threads[current]; }

void leave(State state) {
  self().state = state;
  switch_fiber(self().fiber, main_fiber);
}

void thread_main() {
  arrived(self().fiber, main_fiber);
  acquire(&start_of_block);
  (*kernel)();
  release(&end_of_block);
  leave(State::returned);
  std::abort();  // there is no switch to a thread that has returned
}

void poison(const Array& array) { std::memset(array.memory.get(), 0xff, array.bytes); }

// Aligned and of its own allocation, so that AddressSanitizer sees both ends.
Memory allocate(int64_t bytes, int64_t alignment) {
  void* memory = nullptr;
  if (posix_memalign(&memory, size_t(std::max<int64_t>(alignment, 16)), size_t(bytes)) != 0) {
    throw std::bad_alloc();
  }
  return Memory(memory);
}

void* stack(int thread) {
  static char* const stacks =
      static_cast<char*>(mmap(nullptr, kStack * kMaxThreads, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  return stacks + kStack * size_t(thread);
}

// Called by the last thread to arrive: orders what `members` did before it before what they do
// next. Every meeting has its own address: with a single one, a thread that leaves late would also
// be ordered after what others did on the way to the next meeting.
template <typename Members>
void meet(int begin, int count, const Members& members) {
  static unsigned number = 0;
  uint64_t* const meeting = &meetings[++number % std::size(meetings)];
  for (int t = begin; t < begin + count; ++t) {
    if (!members(t)) continue;
    acquire(&threads[t].arrival);
    threads[t].meeting = meeting;
  }
  release(meeting);
}

void finish_barrier() {
  for (int t = 0; t < num_threads; ++t) {
    if (threads[t].state != State::at_barrier) return;
  }
  meet(0, num_threads, [](int) { return true; });
  for (int t = 0; t < num_threads; ++t) threads[t].state = State::ready;
}

// Completes the collective of the current thread if all lanes of its mask have asked for it.
void finish_collective() {
  const Thread& asking = self();
  const int warp = current / kWarp * kWarp;
  const auto lane = [&](int l) -> Thread& { return threads[warp + l]; };
  const auto in_mask = [&](int l) { return (asking.mask >> l & 1) != 0; };
  uint64_t ballot = 0, values[kWarp] = {};
  for (int l = 0; l < kWarp; ++l) {
    if (!in_mask(l)) continue;
    if (warp + l >= num_threads || lane(l).state != State::in_collective ||
        lane(l).kind != asking.kind || lane(l).mask != asking.mask ||
        lane(l).combine != asking.combine) {
      return;
    }
    ballot |= uint64_t(lane(l).value != 0) << l;
    values[l] = lane(l).value;
  }
  if (asking.kind == Collective::gather) asking.combine(values);
  if (asking.kind == Collective::sync) meet(warp, kWarp, [&](int t) { return in_mask(t - warp); });
  for (int l = 0; l < kWarp; ++l) {
    if (!in_mask(l)) continue;
    Thread& thread = lane(l);
    const bool valid = thread.source >= 0 && thread.source < kWarp && in_mask(thread.source);
    thread.result = ballot;
    if (thread.kind == Collective::shuffle) {
      thread.result = valid ? lane(thread.source).value : ~uint64_t(0);
    }
    thread.state = State::ready;
  }
}

std::string deadlock() {
  const char* kinds[] = {"__syncwarp", "a vote", "a shuffle", "ldmatrix or mma"};
  std::ostringstream report;
  report << "host run: deadlock in block " << position.block.x << " of " << position.grid_size.x
         << ". Every thread has returned or waits:";
  std::map<std::string, std::string> waiting;
  for (int t = 0; t < num_threads; ++t) {
    std::ostringstream where;
    if (threads[t].state == State::returned) where << "returned";
    if (threads[t].state == State::at_barrier) where << "at __syncthreads";
    if (threads[t].state == State::in_collective) {
      where << "in " << kinds[int(threads[t].kind)] << " of lanes 0x" << std::hex
            << threads[t].mask;
    }
    waiting[where.str()] += " " + std::to_string(t);
  }
  for (const auto& [where, numbers] : waiting) report << "\n  " << where << ":" << numbers;
  return report.str();
}

void run_block(Schedule& schedule) {
  const auto is_ready = [](int t) { return threads[t].state == State::ready; };
  for (const auto& [site, array] : arrays) poison(array);
  for (int t = 0; t < num_threads; ++t) {
    threads[t].state = State::ready;
    threads[t].copies = {};
    prepare(threads[t].fiber, stack(t), kStack, thread_main);
  }
  release(&start_of_block);
  current = schedule.before_first(num_threads);
  for (;;) {
    current = schedule.next(current, num_threads, is_ready);
    if (current < 0) break;
    position.thread.x = unsigned(current);
    switch_fiber(main_fiber, self().fiber);
    if (!failure.empty()) throw std::runtime_error("host run: " + failure);
  }
  acquire(&end_of_block);
  for (int t = 0; t < num_threads; ++t) {
    if (threads[t].state != State::returned) throw std::runtime_error(deadlock());
  }
}

}  // namespace

void run_grid(int64_t blocks, int block_threads, int64_t shared_bytes,
              const std::function<void()>& body) {
  if (blocks == 0) return;
  if (blocks < 0 || blocks >= int64_t(1) << 31 || block_threads < 1 ||
      block_threads > kMaxThreads) {
    throw std::runtime_error("host run: a grid of " + std::to_string(blocks) + " blocks of " +
                             std::to_string(block_threads) + " threads cannot be launched");
  }
  const std::lock_guard<std::mutex> lock(one_grid);
  Schedule schedule;
  failure.clear();
  num_threads = block_threads;
  kernel = &body;
  threads = std::vector<Thread>(size_t(num_threads));
  arrays.clear();
  if (shared_bytes > 0) arrays[nullptr] = {allocate(shared_bytes, 16), shared_bytes};
  position = {{0, 0, 0}, {0, 0, 0}, {unsigned(num_threads), 1, 1}, {unsigned(blocks), 1, 1}};
#if defined(HOST_RUN_THREAD)
  main_fiber.thread_sanitizer = __tsan_get_current_fiber();
  static std::vector<void*> fibers;  // a new one takes a millisecond: these serve every grid
  while (fibers.size() < threads.size()) fibers.push_back(__tsan_create_fiber(0));
  for (size_t t = 0; t < threads.size(); ++t) threads[t].fiber.thread_sanitizer = fibers[t];
#endif
  const bool only_last = variable("HOST_RUN_BLOCKS", "all") == "last";
  for (int64_t block = only_last ? blocks - 1 : 0; block < blocks; ++block) {
    position.block.x = unsigned(block);
    run_block(schedule);
  }
}

int64_t max_blocks() { return std::stoll(variable("HOST_RUN_MAX_BLOCKS", "3")); }

void* shared(const void* site, int64_t bytes, int64_t alignment) {
  const auto existing = arrays.find(site);
  if (existing != arrays.end()) return existing->second.memory.get();
  Array& array = arrays[site];
  array = {allocate(bytes, alignment), bytes};
  poison(array);
  return array.memory.get();
}

void* dynamic_shared() { return arrays.at(nullptr).memory.get(); }

void barrier() {
  release(&self().arrival);
  self().state = State::at_barrier;
  finish_barrier();
  leave(self().state);
  acquire(self().meeting);
}

void fail(const std::string& report) {
  failure = report;
  leave(State::failed);
}

Copies& copies() { return self().copies; }

void gather(uint64_t value, void (*combine)(const uint64_t* values)) {
  self().combine = combine;
  collective(Collective::gather, ~0u, value, 0);
  self().combine = nullptr;
}

uint64_t collective(Collective kind, unsigned mask, uint64_t value, int source) {
  if ((mask >> (current % kWarp) & 1) == 0) {
    fail("thread " + std::to_string(current) + " asks for a collective of other lanes");
  }
  Thread& thread = self();
  if (kind == Collective::sync) release(&thread.arrival);
  thread.kind = kind;
  thread.mask = mask;
  thread.value = value;
  thread.source = source;
  thread.state = State::in_collective;
  finish_collective();
  leave(thread.state);
  if (kind == Collective::sync) acquire(thread.meeting);
  return thread.result;
}

}  // namespace fairloss::host_run

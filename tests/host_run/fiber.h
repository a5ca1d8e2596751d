// A stack for each thread of a block, and the switch between two stacks.
#pragma once

#include <cstddef>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace fairloss::host_run {

// The sanitizers have to know of switches between stacks. Declared here because the runtime itself
// is compiled without a sanitizer.
#if defined(HOST_RUN_ADDRESS)
extern "C" void __sanitizer_start_switch_fiber(void** save, const void* bottom, size_t size);
extern "C" void __sanitizer_finish_switch_fiber(void* save, const void** bottom, size_t* size);
extern "C" void __asan_unpoison_memory_region(const volatile void* begin, size_t size);
#endif
#if defined(HOST_RUN_THREAD)
extern "C" void* __tsan_get_current_fiber();
extern "C" void* __tsan_create_fiber(unsigned flags);
extern "C" void __tsan_switch_to_fiber(void* fiber, unsigned flags);
extern "C" void __tsan_acquire(void* address);
extern "C" void __tsan_release(void* address);
#endif

// What one thread does before release(address) happens before what another does after
// acquire(address).
inline void release([[maybe_unused]] void* address) {
#if defined(HOST_RUN_THREAD)
  __tsan_release(address);
#endif
}
inline void acquire([[maybe_unused]] void* address) {
#if defined(HOST_RUN_THREAD)
  __tsan_acquire(address);
#endif
}

struct Fiber {
#if defined(__x86_64__)
  void* stack_pointer = nullptr;
#else
  ucontext_t context;
#endif
  void* bottom = nullptr;  // of the stack
  size_t size = 0;
  void* address_sanitizer = nullptr;
  void* thread_sanitizer = nullptr;
};

// Gives `fiber` the stack; the first switch to it calls entry(), which must never return.
void prepare(Fiber& fiber, void* bottom, size_t size, void (*entry)());

// Suspends `from`, the current fiber, and resumes `to`. The first switch to a fiber calls its
// entry, which has to call arrived() first.
void switch_fiber(Fiber& from, Fiber& to);
void arrived(Fiber& self, Fiber& main);

}  // namespace fairloss::host_run

#include "fiber.h"

#include <cstdint>

namespace fairloss::host_run {

#if defined(__x86_64__)

// Saves the registers that the calling convention preserves, switches stacks and restores them: 10
// times faster than swapcontext, which makes a system call for the signal mask.
extern "C" void fairloss_switch(void** save, void* load);
asm(R"(
.text
.globl fairloss_switch
.hidden fairloss_switch
.type fairloss_switch, @function
fairloss_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size fairloss_switch, .-fairloss_switch
)");

static void set_up(Fiber& fiber, void (*entry)()) {
  constexpr int kSaved = 6;  // registers that fairloss_switch pops
  auto* top = reinterpret_cast<void**>((uintptr_t(fiber.bottom) + fiber.size) & ~uintptr_t(15));
  *--top = nullptr;  // a function finds the stack 8 bytes off a multiple of 16, as after a call
  *--top = reinterpret_cast<void*>(entry);
  for (int i = 0; i < kSaved; ++i) *--top = nullptr;
  fiber.stack_pointer = top;
}

static void exchange(Fiber& from, Fiber& to) {
  fairloss_switch(&from.stack_pointer, to.stack_pointer);
}

#else

static void set_up(Fiber& fiber, void (*entry)()) {
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = fiber.bottom;
  fiber.context.uc_stack.ss_size = fiber.size;
  makecontext(&fiber.context, entry, 0);
}

static void exchange(Fiber& from, Fiber& to) { swapcontext(&from.context, &to.context); }

#endif

void prepare(Fiber& fiber, void* bottom, size_t size, void (*entry)()) {
  fiber.bottom = bottom;
  fiber.size = size;
  fiber.address_sanitizer = nullptr;
#if defined(HOST_RUN_ADDRESS)
  __asan_unpoison_memory_region(bottom, size);  // frames of fibers that never returned
#endif
  set_up(fiber, entry);
}

void switch_fiber(Fiber& from, Fiber& to) {
#if defined(HOST_RUN_ADDRESS)
  __sanitizer_start_switch_fiber(&from.address_sanitizer, to.bottom, to.size);
#endif
#if defined(HOST_RUN_THREAD)
  constexpr unsigned kNoSync = 1;  // a switch is not a synchronization
  __tsan_switch_to_fiber(to.thread_sanitizer, kNoSync);
#endif
  exchange(from, to);
#if defined(HOST_RUN_ADDRESS)
  __sanitizer_finish_switch_fiber(from.address_sanitizer, nullptr, nullptr);
#endif
}

void arrived([[maybe_unused]] Fiber& self, [[maybe_unused]] Fiber& main) {
#if defined(HOST_RUN_ADDRESS)
  const void* bottom;
  __sanitizer_finish_switch_fiber(self.address_sanitizer, &bottom, &main.size);
  main.bottom = const_cast<void*>(bottom);
#endif
}

}  // namespace fairloss::host_run

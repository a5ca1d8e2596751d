// The threads of torch, for the CPU kernels.
#pragma once

#include <exception>
#include <functional>
#include <mutex>

#include "../cpu/parallel.h"
#include "stable.h"

#if defined(__SANITIZE_THREAD__)  // gcc
#define FAIRLOSS_THREAD_SANITIZER 1
#elif defined(__has_feature)  // clang
#define FAIRLOSS_THREAD_SANITIZER __has_feature(thread_sanitizer)
#else
#define FAIRLOSS_THREAD_SANITIZER 0
#endif

#if FAIRLOSS_THREAD_SANITIZER
#include <thread>
#include <vector>
#endif

namespace fairloss::ops {

#if FAIRLOSS_THREAD_SANITIZER
// Torch's threads synchronize in a library that was not compiled for ThreadSanitizer, which would
// report a data race at every barrier. It does see the start and the end of these threads.
inline void run_tasks(int tasks, const std::function<void(int)>& body) {
  std::vector<std::thread> threads;
  for (int task = 0; task < tasks; ++task) threads.emplace_back(body, task);
  for (std::thread& thread : threads) thread.join();
}
#else
inline void run_tasks(int tasks, const std::function<void(int)>& body) {
  torch::stable::parallel_for(0, tasks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) body(int(task));
  });
}
#endif

// An exception would end a thread, or the process: the first one is thrown here instead.
inline void run_and_rethrow(int tasks, const std::function<void(int)>& body) {
  std::exception_ptr first;
  std::mutex mutex;
  run_tasks(tasks, [&](int task) {
    try {
      body(task);
    } catch (...) {
      const std::lock_guard<std::mutex> lock(mutex);
      if (first == nullptr) first = std::current_exception();
    }
  });
  if (first != nullptr) std::rethrow_exception(first);
}

inline Parallel torch_threads() { return {int(torch::stable::get_num_threads()), run_and_rethrow}; }

}  // namespace fairloss::ops

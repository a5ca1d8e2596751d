// The threads that kernels are tested on.
#pragma once

#include <thread>
#include <vector>

#include "parallel.h"

// Three threads that start in reverse order.
inline fairloss::Parallel three_threads() {
  return {3, [](int tasks, const std::function<void(int)>& body) {
            std::vector<std::thread> threads;
            for (int task = tasks; task-- > 0;) threads.emplace_back(body, task);
            for (std::thread& thread : threads) thread.join();
          }};
}

// The threads that a kernel runs on, provided by its caller.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>

namespace fairloss {

struct Parallel {
  int threads = 1;
  // Calls body(0), ..., body(tasks - 1), each exactly once, in any order on any thread.
  std::function<void(int tasks, const std::function<void(int)>& body)> run =
      [](int tasks, const std::function<void(int)>& body) {
        for (int task = 0; task < tasks; ++task) body(task);
      };
};

// The share of task `task` when `total` units of work are divided in whole blocks among `tasks`
// tasks. Shares depend on the number of tasks only, so results do not depend on scheduling.
struct Share {
  int64_t begin, end;
};

inline Share share_of(int task, int tasks, int64_t total, int64_t block) {
  const int64_t blocks = (total + block - 1) / block;
  const int64_t first = blocks * task / tasks, last = blocks * (task + 1) / tasks;
  return {std::min(first * block, total), std::min(last * block, total)};
}

}  // namespace fairloss

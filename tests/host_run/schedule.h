// The order in which the threads of a block run.
//
// Environment:
//   HOST_RUN_SCHEDULE  forward, reverse, shuffle, or greedy: one warp runs as far as it can, which
//                      shows a missing barrier before shared memory is used again
//   HOST_RUN_SEED      of shuffle
#pragma once

#include <algorithm>
#include <cstdlib>
#include <random>
#include <stdexcept>
#include <string>

namespace fairloss::host_run {

constexpr int kWarp = 32;

inline std::string variable(const char* name, const char* otherwise) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : otherwise;
}

class Schedule {
 public:
  Schedule() : name_(variable("HOST_RUN_SCHEDULE", "forward")) {
    if (name_ != "forward" && name_ != "reverse" && name_ != "shuffle" && name_ != "greedy") {
      throw std::runtime_error(
          "HOST_RUN_SCHEDULE: expected forward, reverse, shuffle or greedy, got " + name_);
    }
  }

  // For next() to begin with.
  int before_first(int threads) const { return name_ == "reverse" ? 0 : threads - 1; }

  // The thread to run after `current`, or -1 if none is ready.
  template <typename Ready>
  int next(int current, int threads, const Ready& is_ready) {
    if (name_ == "reverse") return search(current - 1, -1, 0, threads, is_ready);
    if (name_ == "forward") return search(current + 1, 1, 0, threads, is_ready);
    if (name_ == "shuffle") return search(int(random_() % threads), 1, 0, threads, is_ready);
    const int warp = current / kWarp * kWarp, lanes = std::min(kWarp, threads - warp);
    const int same = search(warp, 1, warp, lanes, is_ready);
    return same >= 0 ? same : search(warp + lanes, 1, 0, threads, is_ready);
  }

 private:
  // The first ready one of the `count` threads from `begin`, from `first` on, around the end.
  template <typename Ready>
  static int search(int first, int step, int begin, int count, const Ready& is_ready) {
    for (int i = 0; i < count; ++i) {
      const int t = begin + (first - begin + step * i + 2 * count) % count;
      if (is_ready(t)) return t;
    }
    return -1;
  }

  std::string name_;
  std::mt19937 random_{unsigned(std::stoul(variable("HOST_RUN_SEED", "0")))};
};

}  // namespace fairloss::host_run

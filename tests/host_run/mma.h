// What feeds tensor cores and what they do, as the PTX manual describes it (its sections on
// cp.async, ldmatrix, and mma.m16n8k16 and m16n8k8): the host's part of csrc/cuda/mma.cuh.
#pragma once

#include <cstring>
#include <deque>
#include <string>
#include <vector>

#include "simt.h"

namespace fairloss::host_run {

struct Copy {
  void* shared;
  const void* global;  // null: zeros
};

// Of one thread. A copy takes place when its group is waited for, and not a moment earlier.
struct Copies {
  std::vector<Copy> begun;
  std::deque<std::vector<Copy>> groups;
};

Copies& copies();  // of the thread that runs

// Static, so that the sanitizers see what kernels do with them even where another file, compiled
// without, uses them too.
static inline void check_aligned(const char* what, const void* address) {
  if (reinterpret_cast<uintptr_t>(address) % 16 == 0) return;
  fail(std::string(what) + " of an address that is no multiple of 16");
}

// From now on until it is waited for, the place may hold anything: who reads it gets NaN.
static inline void copy_async(void* shared, const void* global) {
  check_aligned("cp.async", shared);
  check_aligned("cp.async", global);
  std::memset(shared, 0xff, 16);
  copies().begun.push_back({shared, global});
}

static inline void commit_copies() {
  Copies& mine = copies();
  mine.groups.push_back(std::move(mine.begun));
  mine.begun.clear();
}

static inline void wait_for_copies(int pending) {
  Copies& mine = copies();
  for (; int(mine.groups.size()) > pending; mine.groups.pop_front()) {
    for (const Copy& copy : mine.groups.front()) {
      if (copy.global == nullptr) std::memset(copy.shared, 0, 16);
      if (copy.global != nullptr) std::memcpy(copy.shared, copy.global, 16);
    }
  }
}

// Of each matrix the address of the row that this lane gets a part of: lane 8 i + r has given row r
// of matrix i.
struct Rows {
  const void* given;
  const void* of[4];
};
void exchange(Rows& rows);

static inline void load_matrices(const void* row, uint32_t (&words)[4]) {
  check_aligned("ldmatrix", row);
  Rows rows{row, {}};
  exchange(rows);
  for (int i = 0; i < 4; ++i) {
    std::memcpy(&words[i], static_cast<const char*>(rows.of[i]) + 4 * (lane() % 4), 4);
  }
}

// The lanes of a warp together; type: "bf16", "f16" or "tf32".
void multiply_add(const char* type, const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                  float (&sum)[4]);

}  // namespace fairloss::host_run

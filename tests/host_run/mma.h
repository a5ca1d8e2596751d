// cp.async, ldmatrix, mma.m16n8k16 and mma.m16n8k8 as the PTX manual defines them, for the host:
// used by csrc/cuda/mma.cuh.
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

// Copies of one thread. A copy is performed when its thread waits for its group, not earlier.
struct Copies {
  std::vector<Copy> begun;
  std::deque<std::vector<Copy>> groups;
};

Copies& copies();  // of the thread that runs

// These functions are static: another file, compiled without sanitizers, uses them too, and kernels
// must not be linked to its copies.
static inline void check_aligned(const char* what, const void* address) {
  if (reinterpret_cast<uintptr_t>(address) % 16 == 0) return;
  fail(std::string(what) + " of an address that is no multiple of 16");
}

// The destination holds NaN until the thread waits for the copy.
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

// Lane 8 i + r gives the address of row r of matrix i, and receives for each matrix the address of
// the row that it loads a part of.
struct RowExchange {
  const void* given;
  const void* received[4];
};
void exchange(RowExchange& rows);

static inline void load_matrices(const void* row, uint32_t (&words)[4]) {
  check_aligned("ldmatrix", row);
  RowExchange rows{row, {}};
  exchange(rows);
  for (int i = 0; i < 4; ++i) {
    std::memcpy(&words[i], static_cast<const char*>(rows.received[i]) + 4 * (lane() % 4), 4);
  }
}

// The lanes of a warp together; type: "bf16", "f16" or "tf32".
void multiply_add(const char* type, const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                  float (&sum)[4]);

}  // namespace fairloss::host_run

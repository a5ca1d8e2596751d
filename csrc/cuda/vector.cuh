// Vectors of 16 bytes, the widest access of a thread: memory bandwidth needs them.
#pragma once

#include "launch.cuh"

namespace fairloss::cuda {

template <typename T>
struct alignas(16) Vector {
  static constexpr int kLanes = 16 / sizeof(T);
  T lane[kLanes];
};

inline bool is_aligned(const void* pointer) {
  return reinterpret_cast<uintptr_t>(pointer) % 16 == 0;
}

template <typename T>
__device__ Vector<T> load_vector(const T* address) {
  return *reinterpret_cast<const Vector<T>*>(address);
}

// To global memory, by an intrinsic: nvcc splits an assignment where it cannot prove the alignment
// of the address.
template <typename T>
__device__ void store_vector(T* address, const Vector<T>& vector) {
  uint4 bits;
  memcpy(&bits, &vector, sizeof bits);
  __stcg(reinterpret_cast<uint4*>(address), bits);
}

}  // namespace fairloss::cuda

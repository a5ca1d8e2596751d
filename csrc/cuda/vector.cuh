// Numbers that are loaded and stored together. Memory bandwidth needs accesses of 16 bytes, the
// widest of a thread.
#pragma once

#include <type_traits>

#include "launch.cuh"

namespace fairloss::cuda {

template <typename T, int N>
struct alignas(N * sizeof(T)) Pack {
  static constexpr int kLanes = N;
  T lane[N];
};

template <typename T>
using Vector = Pack<T, 16 / sizeof(T)>;

inline bool is_aligned(const void* pointer) {
  return reinterpret_cast<uintptr_t>(pointer) % 16 == 0;
}

template <int N, typename T>
__device__ Pack<T, N> load_pack(const T* address) {
  return *reinterpret_cast<const Pack<T, N>*>(address);
}

template <typename T>
__device__ Vector<T> load_vector(const T* address) {
  return load_pack<Vector<T>::kLanes>(address);
}

// To global memory, by an intrinsic: nvcc splits an assignment where it cannot prove the alignment
// of the address.
template <typename T, int N>
__device__ void store_pack(T* address, const Pack<T, N>& pack) {
  using Word = std::conditional_t<sizeof(pack) % sizeof(uint4) == 0, uint4, uint2>;
  constexpr int kWords = sizeof(pack) / sizeof(Word);
  static_assert(kWords * sizeof(Word) == sizeof(pack), "whole words");
  Word words[kWords];
  memcpy(words, &pack, sizeof(pack));
  for (int w = 0; w < kWords; ++w) __stcg(reinterpret_cast<Word*>(address) + w, words[w]);
}

}  // namespace fairloss::cuda

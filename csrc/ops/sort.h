// The sorts that ops leave to torch's library: radix sorts on a GPU, in the current stream.
#pragma once

#include <array>
#include <utility>

#include "tensors.h"

namespace fairloss::ops {

// Values (N,) ascending, and where each was (N,) int64: of equal ones the first comes first.
inline std::pair<Tensor, Tensor> stable_sort(const Tensor& values) {
  std::array<StableIValue, 4> stack{
      torch::stable::detail::from(values), torch::stable::detail::from(std::optional<bool>(true)),
      torch::stable::detail::from(int64_t(0)), torch::stable::detail::from(false)};
  TORCH_ERROR_CODE_CHECK(
      torch_call_dispatcher("aten::sort", "stable", stack.data(), TORCH_ABI_VERSION));
  return {torch::stable::detail::to<Tensor>(stack[0]), torch::stable::detail::to<Tensor>(stack[1])};
}

// The `count` highest of values (N,), in any order unless `sorted`, then descending. NaN is higher
// than all numbers.
inline Tensor highest(const Tensor& values, int64_t count, bool sorted) {
  std::array<StableIValue, 5> stack{
      torch::stable::detail::from(values), torch::stable::detail::from(count),
      torch::stable::detail::from(int64_t(0)), torch::stable::detail::from(true),
      torch::stable::detail::from(sorted)};
  TORCH_ERROR_CODE_CHECK(torch_call_dispatcher("aten::topk", "", stack.data(), TORCH_ABI_VERSION));
  torch::stable::detail::to<Tensor>(stack[1]);  // where they were
  return torch::stable::detail::to<Tensor>(stack[0]);
}

}  // namespace fairloss::ops

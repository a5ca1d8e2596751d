// The sorts of torch's library: radix sorts on a GPU, in the current stream.
#pragma once

#include <array>
#include <utility>

#include "views.h"

namespace fairloss::ops {

// Values (N,) ascending and their positions before (N,) int64; equal values keep their order.
inline std::pair<Tensor, Tensor> stable_sort(const Tensor& values) {
  std::array<StableIValue, 4> stack{
      torch::stable::detail::from(values), torch::stable::detail::from(std::optional<bool>(true)),
      torch::stable::detail::from(int64_t(0)), torch::stable::detail::from(false)};
  TORCH_ERROR_CODE_CHECK(
      torch_call_dispatcher("aten::sort", "stable", stack.data(), TORCH_ABI_VERSION));
  return {torch::stable::detail::to<Tensor>(stack[0]), torch::stable::detail::to<Tensor>(stack[1])};
}

// The `count` highest of values (N,): descending if `sorted`, else in any order. NaN is higher than
// all numbers.
inline Tensor highest(const Tensor& values, int64_t count, bool sorted) {
  std::array<StableIValue, 5> stack{
      torch::stable::detail::from(values), torch::stable::detail::from(count),
      torch::stable::detail::from(int64_t(0)), torch::stable::detail::from(true),
      torch::stable::detail::from(sorted)};
  TORCH_ERROR_CODE_CHECK(torch_call_dispatcher("aten::topk", "", stack.data(), TORCH_ABI_VERSION));
  torch::stable::detail::to<Tensor>(stack[1]);  // releases their positions
  return torch::stable::detail::to<Tensor>(stack[0]);
}

}  // namespace fairloss::ops

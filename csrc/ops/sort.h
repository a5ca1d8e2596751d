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

}  // namespace fairloss::ops

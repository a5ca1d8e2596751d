// Small kernels, correct and faulty ones, for test_simt.py.
#include <cstdio>
#include <cstring>
#include <exception>

#include "launch.cuh"

using namespace fairloss::cuda;

__global__ void collectives(int* out) {
  const int lane = lane_index();
  int correct = __shfl_down_sync(kAllLanes, lane, 1, 8) == (lane % 8 == 7 ? lane : lane + 1);
  correct &= __shfl_up_sync(kAllLanes, lane, 2) == (lane < 2 ? lane : lane - 2);
  correct &= __shfl_xor_sync(kAllLanes, double(lane), 16) == double(lane ^ 16);
  correct &= __shfl_sync(kAllLanes, lane, 3, 16) == (lane & 16) + 3;
  correct &= __ballot_sync(kAllLanes, lane % 2) == 0xaaaaaaaau;
  correct &= __any_sync(kAllLanes, lane == 9) && !__all_sync(kAllLanes, lane == 9);
  if (lane < 8) correct &= __ballot_sync(0xffu, 1) == 0xffu;  // the other lanes do not wait
  __syncwarp();
  out[threadIdx.x] = correct;
}

__global__ void early_return() {
  if (threadIdx.x == 40) return;
  __syncthreads();
}

__global__ void absent_lane() {
  if (lane_index() < 16) __ballot_sync(kAllLanes, 1);
}

__global__ void foreign_mask() { __syncwarp(0x1u); }

__global__ void unwritten(int* out) {
  FAIRLOSS_SHARED(float, values, [64]);
  FAIRLOSS_DYNAMIC_SHARED(float, more);
  if (threadIdx.x == 0) values[0] = more[0] = 1;
  __syncthreads();
  out[threadIdx.x] = std::isnan(values[threadIdx.x]) && std::isnan(more[threadIdx.x]);
}

// Every warp sums what all have written, twice over one array: the second round may begin only
// when all have read the first.
__global__ void reused(int* out, bool barrier) {
  FAIRLOSS_SHARED(int, values, [64]);
  int sum = 0;
  for (int round = 0; round < 2; ++round) {
    values[threadIdx.x] = round;
    __syncthreads();
    for (int i = 0; i < 64; ++i) sum += values[i];
    if (barrier) __syncthreads();
  }
  out[threadIdx.x] = sum;
}

__global__ void beyond(int* out) {
  FAIRLOSS_SHARED(int, values, [64]);
  values[threadIdx.x] = 1;
  __syncthreads();
  const int* const first = values;  // of which UndefinedBehaviorSanitizer knows no bounds
  out[threadIdx.x] = first[threadIdx.x + 1];
}

int main(int, char** arguments) {
  int out[64] = {};
  const auto is_case = [&](const char* name) { return std::strcmp(arguments[1], name) == 0; };
  const LaunchConfig config{2, 64, 64 * sizeof(float), nullptr};
  try {
    if (is_case("collectives")) launch(collectives, config, out);
    if (is_case("early_return")) launch(early_return, config);
    if (is_case("absent_lane")) launch(absent_lane, config);
    if (is_case("foreign_mask")) launch(foreign_mask, config);
    if (is_case("unwritten")) launch(unwritten, config, out);
    if (is_case("beyond")) launch(beyond, config, out);
    if (is_case("with_barrier")) launch(reused, config, out, true);
    if (is_case("without_barrier")) launch(reused, config, out, false);
  } catch (const std::exception& error) {
    std::puts(error.what());
    return 1;
  }
  for (int value : out) std::printf("%d ", value);
}

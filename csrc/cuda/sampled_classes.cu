#include "fairloss/margin_table.h"
#include "fairloss/permutation.h"
#include "launch.cuh"
#include "sampled_classes.h"

namespace fairloss::cuda {

__global__ void sampled_classes_kernel(const SampledClassesProblem p) {
  const Permutation drawn(splitmix64(uint64_t(p.seed), uint64_t(*p.step)), p.classes);
  for (int64_t i = thread_index(); i < p.samples; i += thread_count()) {
    p.sampled[i] = drawn.item(i);
  }
  // A warp takes a sample and searches for the first one of its class, without sorting or atomics:
  // a batch of 4096 different classes takes 0.3 million reads of a whole warp, from cache.
  const int lane = lane_index();
  for (int64_t i = warp_index(); i < p.batch; i += warp_count()) {
    const int64_t label = p.labels[i];
    const bool valid = label >= 0 && label < p.classes;
    const int64_t position = valid ? drawn.position(label) : p.samples;
    int64_t first = i;
    for (int64_t j = lane; position >= p.samples && first == i && j - lane < i; j += kWarp) {
      const bool earlier = j < i;
      const unsigned same = __ballot_sync(kAllLanes, earlier && p.labels[j] == label);
      if (same != 0) first = j - lane + __ffs(int(same)) - 1;
    }
    if (lane != 0) continue;
    const bool added = valid && position >= p.samples && first == i;
    p.sampled[p.samples + i] = added ? label : -1;
    const int64_t slot = position < p.samples ? position : p.samples + first;
    p.positions[i] = valid ? slot : label == -1 ? kIgnored : kInvalid;
  }
}

void launch_sampled_classes(const SampledClassesProblem& p, cudaStream_t stream) {
  const int64_t work = std::max(p.samples, p.batch * kWarp);
  launch(sampled_classes_kernel, {blocks_for(work, kThreads), kThreads, 0, stream}, p);
}

}  // namespace fairloss::cuda

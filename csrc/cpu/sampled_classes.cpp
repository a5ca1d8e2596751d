#include "sampled_classes.h"

#include <unordered_map>

#include "fairloss/permutation.h"

namespace fairloss {

void sampled_classes(const SampledClasses& p) {
  const Permutation drawn(splitmix64(uint64_t(p.seed), uint64_t(p.step)), p.classes);
  for (int64_t i = 0; i < p.samples; ++i) p.sampled[i] = drawn.item(i);
  std::unordered_map<int64_t, int64_t> first;  // sample of each class that was not drawn
  for (int64_t i = 0; i < p.batch; ++i) {
    const int64_t label = p.labels[i];
    p.sampled[p.samples + i] = p.positions[i] = -1;
    if (label < 0) continue;
    p.positions[i] = drawn.position(label);
    if (p.positions[i] < p.samples) continue;
    const auto [entry, added] = first.try_emplace(label, i);
    p.positions[i] = p.samples + entry->second;
    if (added) p.sampled[p.positions[i]] = label;
  }
}

}  // namespace fairloss

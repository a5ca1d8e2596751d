// The instructions of mma.h as ops, for test_mma.py: one warp on given operands.
#include "../mma.h"

#include "../../../csrc/ops/views.h"

namespace fairloss::ops {

static void mma(const std::string& type, const Tensor& a, const Tensor& b, const Tensor& sum) {
  const auto* left = static_cast<const uint32_t*>(a.const_data_ptr());
  const auto* right = static_cast<const uint32_t*>(b.const_data_ptr());
  float* sums = sum.mutable_data_ptr<float>();
  host_run::run_grid(1, 32, 0, [&] {
    uint32_t words[4];
    float mine[4];
    const int lane = host_run::lane();
    std::memcpy(words, left + 4 * lane, sizeof words);
    std::memcpy(mine, sums + 4 * lane, sizeof mine);
    host_run::multiply_add(type.c_str(), words, right[2 * lane], right[2 * lane + 1], mine);
    std::memcpy(sums + 4 * lane, mine, sizeof mine);
  });
}

static void load_matrices(const Tensor& bytes, const Tensor& offsets, const Tensor& out) {
  const auto* memory = static_cast<const char*>(bytes.const_data_ptr());
  const int64_t* rows = offsets.const_data_ptr<int64_t>();
  auto* words = static_cast<uint32_t*>(out.mutable_data_ptr());
  host_run::run_grid(1, 32, 0, [&] {
    uint32_t mine[4];
    host_run::load_matrices(memory + rows[host_run::lane()], mine);
    std::memcpy(words + 4 * host_run::lane(), mine, sizeof mine);
  });
}

// Five copies, the first four in groups of their own; waits for all but `pending` groups. The
// fourth copies zeros. out: the contents of shared memory then.
static void copies(const Tensor& from, int64_t offset, int64_t pending, const Tensor& out) {
  const auto* source = static_cast<const char*>(from.const_data_ptr());
  char* target = static_cast<char*>(out.mutable_data_ptr());
  host_run::run_grid(1, 1, 16 * 5, [&] {
    char* shared = static_cast<char*>(host_run::dynamic_shared());
    for (int i = 0; i < 5; ++i) {
      host_run::copy_async(shared + 16 * i, i == 3 ? nullptr : source + 16 * i + offset);
      if (i < 4) host_run::commit_copies();
    }
    host_run::wait_for_copies(int(pending));
    std::memcpy(target, shared, 16 * 5);
  });
}

STABLE_TORCH_LIBRARY_FRAGMENT(fairloss_host_run, m) {
  m.def("mma(str type, Tensor a, Tensor b, Tensor(a!) sum) -> ()");
  m.def("load_matrices(Tensor bytes, Tensor offsets, Tensor(a!) out) -> ()");
  m.def("copies(Tensor source, int offset, int pending, Tensor(a!) out) -> ()");
}

STABLE_TORCH_LIBRARY_IMPL(fairloss_host_run, CPU, m) {
  m.impl("mma", TORCH_BOX(&mma));
  m.impl("load_matrices", TORCH_BOX(&load_matrices));
  m.impl("copies", TORCH_BOX(&copies));
}

}  // namespace fairloss::ops

// distractor_ranks against counting and sorting, alone and on threads. Rows are small integers, so
// every inner product is exact: ties are ties, and results are equal to the last bit.
#include <algorithm>
#include <functional>
#include <random>
#include <vector>

#include "check.h"
#include "distractor_ranks.h"
#include "threads.h"

using namespace fairloss;

namespace {

struct Example {
  int64_t probes, distractors, trials, columns, tail;
  std::vector<float> probe_rows, distractor_rows, scores;
  std::vector<int64_t> probe_index;

  Example(int64_t probes_, int64_t distractors_, int64_t trials_, int64_t columns_, int64_t tail_)
      : probes(probes_),
        distractors(distractors_),
        trials(trials_),
        columns(columns_),
        tail(tail_) {
    std::mt19937 random(7);
    const auto integer = [&](int limit) { return int(random() % (2 * limit + 1)) - limit; };
    for (int64_t i = 0; i < probes * columns; ++i) probe_rows.push_back(float(integer(4)));
    for (int64_t i = 0; i < distractors * columns; ++i)
      distractor_rows.push_back(float(integer(4)));
    for (int64_t t = 0; t < trials; ++t) {
      probe_index.push_back(int64_t(random() % probes));
      scores.push_back(float(integer(50)));  // a product's deviation is 6.7 sqrt(columns)
    }
    if (trials > 2) scores[0] = -1e4f, scores[1] = 1e4f;  // below all, above all
  }

  double score(int64_t probe, int64_t distractor) const {
    double sum = 0;
    for (int64_t d = 0; d < columns; ++d) {
      sum += double(probe_rows[probe * columns + d]) * distractor_rows[distractor * columns + d];
    }
    return sum;
  }
};

struct Results {
  std::vector<int64_t> ranks;
  std::vector<float> tail;
  int64_t first_invalid = -1;

  explicit Results(const Example& x) : ranks(x.trials), tail(x.tail) {}
};

Results naive(const Example& x) {
  Results out(x);
  std::vector<float> all;
  for (int64_t i = 0; i < x.probes; ++i) {
    for (int64_t j = 0; j < x.distractors; ++j) all.push_back(float(x.score(i, j)));
  }
  for (int64_t t = 0; t < x.trials; ++t) {
    const float* scores = all.data() + x.probe_index[t] * x.distractors;
    for (int64_t j = 0; j < x.distractors; ++j) out.ranks[t] += scores[j] > x.scores[t];
  }
  std::sort(all.begin(), all.end(), std::greater<float>());
  std::copy(all.begin(), all.begin() + x.tail, out.tail.begin());
  return out;
}

Results kernel(const Example& x, const Parallel& parallel) {
  Results out(x);
  const MatrixView probes{x.probe_rows.data(), Precision::float32, x.columns, x.columns};
  const MatrixView distractors{x.distractor_rows.data(), Precision::float32, x.columns, x.columns};
  out.first_invalid =
      distractor_ranks({x.probes, x.distractors, x.trials, x.tail, probes, distractors,
                        x.probe_index.data(), x.scores.data(), out.ranks.data(), out.tail.data()},
                       parallel);
  return out;
}

void agrees_with_the_definition(const Example& example) {
  const Results expected = naive(example);
  for (const Parallel& parallel : {Parallel(), three_threads()}) {
    const Results got = kernel(example, parallel);
    CHECK(got.ranks == expected.ranks);
    CHECK(got.tail == expected.tail);
    CHECK(got.first_invalid == -1);
  }
}

void the_first_invalid_distractor_is_returned() {
  Example example(5, 300, 4, 37, 3);
  example.distractor_rows[250 * 37] = NAN;
  example.distractor_rows[41 * 37 + 36] = NAN;
  CHECK(kernel(example, Parallel()).first_invalid == 41);
  CHECK(kernel(example, three_threads()).first_invalid == 41);
}

}  // namespace

int main() {
  // Sizes that leave remainders of blocks of distractors, register tiles and vectors.
  agrees_with_the_definition({13, 331, 57, 37, 20});
  agrees_with_the_definition({1, 1, 3, 1, 1});  // more threads than distractors
  agrees_with_the_definition({7, 97, 0, 5, 7 * 97});
  agrees_with_the_definition({5, 0, 4, 3, 0});
  the_first_invalid_distractor_is_returned();
  return failures();
}

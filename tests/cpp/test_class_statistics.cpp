// class_statistics against loops written down from its definition, in double; alone and on threads.
#include <algorithm>
#include <random>
#include <vector>

#include "check.h"
#include "class_statistics.h"
#include "threads.h"

using namespace fairloss;

namespace {

struct Example {
  int64_t samples, classes, columns, stride;
  std::vector<float> embeddings;  // ends with the last row: no padding hides a read beyond it
  std::vector<int64_t> labels;

  Example(int64_t samples_, int64_t classes_, int64_t columns_)
      : samples(samples_), classes(classes_), columns(columns_), stride(columns + 3) {
    std::mt19937 random(7);
    std::normal_distribution<float> normal;
    embeddings.resize(samples == 0 ? 0 : (samples - 1) * stride + columns);
    for (float& value : embeddings) value = normal(random);
    for (int64_t i = 0; i < samples; ++i) {
      const int64_t label = int64_t(random() % classes);
      labels.push_back(label % 5 == 3 ? -1 : label);  // ignored samples, empty classes
    }
  }
};

template <typename T>
struct Results {
  std::vector<int64_t> count, nearest;
  std::vector<T> center, intra_angle, intra_variance, inter_angle;

  explicit Results(const Example& x)
      : count(x.classes),
        nearest(x.classes, -1),
        center(x.classes * x.columns, T(NAN)),
        intra_angle(x.classes, T(NAN)),
        intra_variance(x.classes, T(NAN)),
        inter_angle(x.classes, T(NAN)) {}
};

double dot(const double* a, const double* b, int64_t columns) {
  double sum = 0;
  for (int64_t d = 0; d < columns; ++d) sum += a[d] * b[d];
  return sum;
}

double cosine(const double* a, const double* b, int64_t columns) {
  return std::clamp(dot(a, b, columns), -1.0, 1.0);
}

std::vector<double> unit(std::vector<double> row) {
  const double norm = std::sqrt(dot(row.data(), row.data(), int64_t(row.size())));
  for (double& value : row) value /= norm;
  return row;
}

std::vector<std::vector<double>> unit_rows_of(const Example& x, int64_t label) {
  std::vector<std::vector<double>> rows;
  for (int64_t i = 0; i < x.samples; ++i) {
    const float* row = x.embeddings.data() + i * x.stride;
    if (x.labels[i] == label) rows.push_back(unit({row, row + x.columns}));
  }
  return rows;
}

Results<double> naive(const Example& x) {
  Results<double> out(x);
  for (int64_t c = 0; c < x.classes; ++c) {
    const std::vector<std::vector<double>> rows = unit_rows_of(x, c);
    const double n = double(out.count[c] = int64_t(rows.size()));
    if (n == 0) continue;
    std::vector<double> center(x.columns);
    for (int64_t d = 0; d < x.columns; ++d) {
      for (const std::vector<double>& row : rows) center[d] += row[d];
    }
    center = unit(center);
    std::copy(center.begin(), center.end(), out.center.begin() + c * x.columns);
    double angle = 0, variance = 0;
    for (const std::vector<double>& row : rows) {
      angle += std::acos(cosine(row.data(), center.data(), x.columns)) / n;
      variance += 1 - cosine(row.data(), center.data(), x.columns);
    }
    out.intra_angle[c] = n == 1 ? 0 : angle;
    out.intra_variance[c] = n == 1 ? 0 : variance / (n - 1);
  }
  for (int64_t c = 0; c < x.classes; ++c) {
    double best = -2;
    for (int64_t other = 0; other < x.classes; ++other) {
      if (other == c || out.count[c] == 0 || out.count[other] == 0) continue;
      const double* centers = out.center.data();
      const double now = cosine(centers + c * x.columns, centers + other * x.columns, x.columns);
      if (now <= best) continue;
      best = now;
      out.nearest[c] = other;
      out.inter_angle[c] = std::acos(now);
    }
  }
  return out;
}

Results<float> kernel(const Example& x, const Parallel& parallel) {
  Results<float> out(x);
  class_statistics({x.samples, x.classes,
                    MatrixView{x.embeddings.data(), Precision::float32, x.columns, x.stride},
                    x.labels.data(), out.count.data(), out.center.data(), out.intra_angle.data(),
                    out.intra_variance.data(), out.inter_angle.data(), out.nearest.data()},
                   parallel);
  return out;
}

// Everything is of order 1, so float's 6e-8 times a few roundings.
constexpr double kTolerance = 2e-6;

void check_results(const Results<float>& got, const Results<double>& expected) {
  CHECK(got.count == expected.count);
  CHECK(got.nearest == expected.nearest);  // the two best cosines are 5e-4 apart
  for (size_t i = 0; i < got.center.size(); ++i) {
    CHECK_CLOSE(got.center[i], expected.center[i], kTolerance);
  }
  for (size_t c = 0; c < got.count.size(); ++c) {
    CHECK_CLOSE(got.intra_angle[c], expected.intra_angle[c], kTolerance);
    CHECK_CLOSE(got.intra_variance[c], expected.intra_variance[c], kTolerance);
    CHECK_CLOSE(got.inter_angle[c], expected.inter_angle[c], kTolerance);
  }
}

void agrees_with_the_definition(const Example& example) {
  const Results<double> expected = naive(example);
  check_results(kernel(example, Parallel()), expected);
  check_results(kernel(example, three_threads()), expected);
}

}  // namespace

int main() {
  // Sizes that leave remainders of blocks of centers, register tiles and vectors.
  agrees_with_the_definition({211, 61, 37});
  agrees_with_the_definition({1300, 601, 19});
  agrees_with_the_definition({2, 7, 5});  // more threads than samples
  agrees_with_the_definition({7, 1, 3});  // nothing is near a single class
  agrees_with_the_definition({0, 3, 4});
  return failures();
}

// cosine_partition against loops written down from its definition, in double; alone and on threads.
#include <limits>
#include <random>
#include <vector>

#include "check.h"
#include "cosine_partition.h"
#include "threads.h"

using namespace fairloss;

namespace {

// Sizes that leave remainders of blocks, panels and register tiles.
constexpr int64_t kBatch = 13, kClasses = 150, kColumns = 37;
constexpr float kScale = 20;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

template <typename T>
struct Results {
  std::vector<T> target_cosine = std::vector<T>(kBatch);
  std::vector<T> negative_logsumexp = std::vector<T>(kBatch);
  std::vector<T> grad_embeddings = std::vector<T>(kBatch * kColumns);
  std::vector<T> grad_weight = std::vector<T>(kClasses * kColumns);
  T grad_scale = 0;
};

struct Example {
  std::vector<float> embeddings, weight, hard_threshold, grad_target, grad_nlse;
  std::vector<int64_t> labels;
  bool hard;  // whether negatives are transformed

  explicit Example(bool hard_) : hard(hard_) {
    std::mt19937 random(7);
    std::normal_distribution<float> normal;
    const auto fill = [&](std::vector<float>& values, int64_t size, float scale) {
      for (int64_t i = 0; i < size; ++i) values.push_back(scale * normal(random));
    };
    fill(embeddings, kBatch * kColumns, 1);
    fill(weight, kClasses * kColumns, 0.1f);
    fill(hard_threshold, kBatch, 0.1f);
    fill(grad_target, kBatch, 1);
    fill(grad_nlse, kBatch, 1);
    for (int64_t i = 0; i < kBatch; ++i) labels.push_back(int64_t(random() % kClasses));
    labels[3] = -1;
    labels[5] = labels[4];
  }
};

constexpr float kHard[3] = {0.5f, 0.9f, 0.2f};

std::vector<double> unit_rows(const std::vector<float>& rows, std::vector<double>& norms) {
  std::vector<double> unit(rows.begin(), rows.end());
  for (size_t start = 0; start < rows.size(); start += kColumns) {
    double squared = 0;
    for (int64_t d = 0; d < kColumns; ++d) squared += unit[start + d] * unit[start + d];
    norms.push_back(std::sqrt(squared));
    for (int64_t d = 0; d < kColumns; ++d) unit[start + d] /= norms.back();
  }
  return unit;
}

Results<double> naive(const Example& x) {
  Results<double> out;
  std::vector<double> embedding_norms, weight_norms;
  const std::vector<double> e = unit_rows(x.embeddings, embedding_norms);
  const std::vector<double> w = unit_rows(x.weight, weight_norms);
  for (int64_t i = 0; i < kBatch; ++i) {
    std::vector<double> cosine(kClasses), value(kClasses), slope(kClasses, 1);
    double total = 0;
    for (int64_t j = 0; j < kClasses; ++j) {
      for (int64_t d = 0; d < kColumns; ++d) cosine[j] += e[i * kColumns + d] * w[j * kColumns + d];
      const double c = value[j] = cosine[j];
      if (x.hard && c > x.hard_threshold[i]) {
        value[j] = kHard[0] * c * c + kHard[1] * c + kHard[2];
        slope[j] = 2 * kHard[0] * c + kHard[1];
      }
      if (j == x.labels[i]) {
        out.target_cosine[i] = c;
      } else {
        total += std::exp(kScale * value[j]);
      }
    }
    out.negative_logsumexp[i] = std::log(total);
    for (int64_t j = 0; j < kClasses; ++j) {
      const double term = x.grad_nlse[i] * std::exp(kScale * value[j]) / total;
      const bool is_target = j == x.labels[i];
      const double grad_cosine = is_target ? x.grad_target[i] : term * kScale * slope[j];
      if (!is_target) out.grad_scale += term * value[j];
      for (int64_t d = 0; d < kColumns; ++d) {
        const int64_t at_e = i * kColumns + d, at_w = j * kColumns + d;
        out.grad_embeddings[at_e] +=
            grad_cosine * (w[at_w] - cosine[j] * e[at_e]) / embedding_norms[i];
        out.grad_weight[at_w] += grad_cosine * (e[at_e] - cosine[j] * w[at_w]) / weight_norms[j];
      }
    }
  }
  return out;
}

Results<float> kernel(const Example& x, int64_t saved, const Parallel& parallel,
                      Precision compute = Precision::float32) {
  Results<float> out;
  std::vector<float> saved_cosines(saved * padded_batch(kBatch));
  CosinePartition p{};
  p.batch = kBatch;
  p.classes = kClasses;
  p.embeddings = {x.embeddings.data(), Precision::float32, kColumns, kColumns};
  p.weight = {x.weight.data(), Precision::float32, kColumns, kColumns};
  p.labels = x.labels.data();
  p.scale = kScale;
  p.compute = compute;
  if (x.hard) {
    p.hard_threshold = x.hard_threshold.data();
    p.hard_coefficients = kHard;
  }
  p.target_cosine = out.target_cosine.data();
  p.negative_logsumexp = out.negative_logsumexp.data();
  p.saved_classes = saved;
  p.saved_cosines = saved_cosines.data();
  cosine_partition(p, parallel);
  cosine_partition_backward(
      p,
      {x.grad_target.data(), x.grad_nlse.data(),
       MutableMatrixView{out.grad_embeddings.data(), Precision::float32, kColumns},
       MutableMatrixView{out.grad_weight.data(), Precision::float32, kColumns}, &out.grad_scale},
      parallel);
  return out;
}

template <typename T>
void check_rows(const std::vector<float>& got, const std::vector<T>& expected, double tolerance) {
  double largest = 1e-30;
  for (T value : expected) largest = std::fmax(largest, std::fabs(double(value)));
  for (size_t i = 0; i < got.size(); ++i) CHECK_CLOSE(got[i], expected[i], tolerance * largest);
}

template <typename T>
void check_results(const Results<float>& got, const Results<T>& expected, double tolerance) {
  check_rows(got.target_cosine, expected.target_cosine, tolerance);
  check_rows(got.negative_logsumexp, expected.negative_logsumexp, tolerance);
  check_rows(got.grad_embeddings, expected.grad_embeddings, tolerance);
  check_rows(got.grad_weight, expected.grad_weight, tolerance);
  CHECK_CLOSE(got.grad_scale, expected.grad_scale,
              tolerance * std::fabs(double(expected.grad_scale)));
}

void agrees_with_the_definition() {
  for (bool hard : {false, true}) {
    const Example example(hard);
    const Results<double> expected = naive(example);
    for (int64_t saved : {kClasses, kCpuTileClasses, int64_t(0)}) {
      const Results<float> alone = kernel(example, saved, Parallel());
      // float's 6e-8, times the scale in the exponent, times a few roundings
      check_results(alone, expected, 1e-5);
      check_results(kernel(example, saved, three_threads()), alone, 2e-6);
    }
  }
}

// Operands of 8 and 11 bits. Every product may be off by the rounding of both its factors.
void lower_precisions_round_operands() {
  const Example example(false);
  const Results<double> expected = naive(example);
  for (int64_t saved : {kClasses, int64_t(0)}) {
    check_results(kernel(example, saved, Parallel(), Precision::bfloat16), expected, 0.1);
    check_results(kernel(example, saved, Parallel(), Precision::float16), expected, 0.0125);
  }
}

// Target cosine of an embedding along its own class; the other class is orthogonal.
float target_of_two(float length) {
  const float embedding[] = {length, 0}, weight[] = {1, 0, 0, 1};
  const int64_t label = 0;
  float target, nlse;
  CosinePartition p{};
  p.batch = 1;
  p.classes = 2;
  p.embeddings = {embedding, Precision::float32, 2, 2};
  p.weight = {weight, Precision::float32, 2, 2};
  p.labels = &label;
  p.scale = kScale;
  p.target_cosine = &target;
  p.negative_logsumexp = &nlse;
  cosine_partition(p, Parallel());
  CHECK_CLOSE(nlse, 0, 1e-6);
  return target;
}

void extreme_lengths_normalize() {
  for (float length : {1e-11f, 1.0f, 1e30f, 3e38f}) CHECK_CLOSE(target_of_two(length), 1, 1e-6);
  CHECK(target_of_two(1e-13f) == 0);
}

void a_single_class_has_no_negatives() {
  const float row[] = {1, 2};
  const int64_t label = 0;
  float target, nlse;
  CosinePartition p{};
  p.batch = p.classes = 1;
  p.embeddings = p.weight = {row, Precision::float32, 2, 2};
  p.labels = &label;
  p.scale = kScale;
  p.target_cosine = &target;
  p.negative_logsumexp = &nlse;
  cosine_partition(p, three_threads());
  CHECK_CLOSE(target, 1, 1e-6);
  CHECK_CLOSE(nlse, -kInfinity, 0);
}

}  // namespace

int main() {
  agrees_with_the_definition();
  lower_precisions_round_operands();
  extreme_lengths_normalize();
  a_single_class_has_no_negatives();
  return failures();
}

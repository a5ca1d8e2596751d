// The target transform phi(cos theta; m1, m2, m3) = cos(m1 theta + m2) - m3 of margin softmax
// (ArcFace, CosFace, SphereFace and their combination), with every derivative training needs.
// For host and device, float and double.
#pragma once

#include <cmath>

#include "fairloss/inline.h"

namespace fairloss {

// Which of (m1, m2, m3) a plain margin fills. Positions are those of KINDS in
// fairloss_ext/options.py.
enum class Kind : int { arc = 0, cos = 1, sphere = 2, combined = 3 };

// The values beyond m1 theta + m2 = pi, where the cosine would rise again. Positions are those of
// EXTENSIONS in fairloss_ext/options.py.
enum class Extension : int { linear = 0, easy = 1, none = 2 };

template <typename T>
struct Margin {
  T m1 = 1, m2 = 0, m3 = 0;
};

template <typename T>
struct Target {
  T value;             // phi
  T d_cosine;          // d phi / d cos(theta)
  T d_m1, d_m2, d_m3;  // d phi / d margin
};

template <typename T>
FAIRLOSS_INLINE Margin<T> margin_from(Kind kind, const T* values) {
  Margin<T> margin;
  switch (kind) {
    case Kind::arc: margin.m2 = values[0]; break;
    case Kind::cos: margin.m3 = values[0]; break;
    case Kind::sphere: margin.m1 = values[0]; break;
    case Kind::combined: margin = {values[0], values[1], values[2]}; break;
  }
  return margin;
}

template <typename T>
FAIRLOSS_INLINE T clamp(T x, T low, T high) {
  return x < low ? low : (x > high ? high : x);  // NaN passes through
}

// d theta / d cos(theta) = -1 / sin(theta) is infinite at cos = +-1. The derivative, but not the
// value, is taken at |cos| <= kMaxSlopeCosine = sqrt(1 - 1e-6), where 1 / sin(theta) = 1000.
// Cosines beyond it are within 5e-7 of +-1, 8 steps of float: rounding hides the true slope there.
constexpr double kMaxSlopeCosine = 0.9999995;

// Insightface's in-place margin (straight_through) has value phi but slope 1.
template <typename T>
FAIRLOSS_INLINE Target<T> target_transform(T cosine, const Margin<T>& margin, Extension extension,
                                           bool straight_through) {
  constexpr T kPi = T(3.14159265358979323846);
  const T m1 = margin.m1, m2 = margin.m2, m3 = margin.m3;
  const bool angular = m1 != T(1) || m2 != T(0);

  if (extension == Extension::easy && cosine <= T(0)) {
    return {cosine, T(1), T(0), T(0), T(0)};
  }

  const T theta = std::acos(clamp(cosine, T(-1), T(1)));
  const T angle = m1 * theta + m2;
  const T smooth = clamp(cosine, -T(kMaxSlopeCosine), T(kMaxSlopeCosine));
  const T smooth_angle = m1 * std::acos(smooth) + m2;
  const T slope = m1 * std::sin(smooth_angle) / std::sqrt((T(1) - smooth) * (T(1) + smooth));

  Target<T> target;
  if (!angular) {  // CosFace: exact without a trip through acos
    target = {cosine, T(1), -theta * std::sin(angle), -std::sin(angle), T(-1)};
  } else if (extension == Extension::linear && angle > kPi && m1 == T(1)) {
    // ArcFace's own continuation, cos(theta) - m sin(m): decreasing, one step down at the border.
    target = {cosine - m2 * std::sin(m2), T(1), T(0), -std::sin(m2) - m2 * std::cos(m2), T(-1)};
  } else if (extension == Extension::linear && angle > kPi) {
    // SphereFace's psi = (-1)^k cos(angle) - 2k: continuous and decreasing.
    const T k = std::floor(angle / kPi);
    const T sign = std::fmod(k, T(2)) == T(0) ? T(1) : T(-1);
    const T smooth_sign = std::fmod(std::floor(smooth_angle / kPi), T(2)) == T(0) ? T(1) : T(-1);
    target = {sign * std::cos(angle) - T(2) * k, smooth_sign * slope,
              -sign * theta * std::sin(angle), -sign * std::sin(angle), T(-1)};
  } else {
    target = {std::cos(angle), slope, -theta * std::sin(angle), -std::sin(angle), T(-1)};
  }
  target.value -= m3;
  if (straight_through) target.d_cosine = T(1);
  return target;
}

template <typename T>
FAIRLOSS_INLINE T softplus(T x) {
  return x > T(0) ? x + std::log1p(std::exp(-x)) : std::log1p(std::exp(x));
}

template <typename T>
FAIRLOSS_INLINE T sigmoid(T x) {
  if (x >= T(0)) return T(1) / (T(1) + std::exp(-x));
  const T e = std::exp(x);  // x is NaN here too, and stays NaN
  return e / (T(1) + e);
}

template <typename T>
struct MarginLoss {
  T value;
  T d_target_cosine, d_negative_logsumexp, d_scale;
  T d_m1, d_m2, d_m3;
};

// loss = softplus(nlse - s phi) is cross-entropy of the margin logits, exact where p -> 1.
template <typename T>
FAIRLOSS_INLINE MarginLoss<T> margin_loss(T target_cosine, T negative_logsumexp, T scale,
                                          const Margin<T>& margin, Extension extension,
                                          bool straight_through) {
  const Target<T> phi = target_transform(target_cosine, margin, extension, straight_through);
  const T gap = negative_logsumexp - scale * phi.value;
  const T q = sigmoid(gap);  // 1 - probability of the target
  return {softplus(gap),        -q * scale * phi.d_cosine, q,
          -q * phi.value,       -q * scale * phi.d_m1,     -q * scale * phi.d_m2,
          -q * scale * phi.d_m3};
}

}  // namespace fairloss

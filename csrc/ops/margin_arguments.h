// The margin arguments of margin_loss and margin_logits.
#pragma once

#include "fairloss/margin_table.h"
#include "views.h"

namespace fairloss::ops {

// Checked against the labels, and against `like`: a tensor whose dtype and device margins share.
struct MarginArguments {
  Tensor labels, margins;
  std::optional<Tensor> groups;
  int64_t num_classes, layout, kind, extension;
  bool straight_through;

  MarginArguments(const Tensor& like, const Tensor& labels_, const Tensor& margins_,
                  const std::optional<Tensor>& groups_, int64_t layout_, int64_t kind_,
                  int64_t extension_, bool straight_through_)
      : margins(torch::stable::contiguous(margins_)),
        num_classes(INT64_MAX),
        layout(layout_),
        kind(kind_),
        extension(extension_),
        straight_through(straight_through_) {
    check(layout >= 0 && layout <= 2, "layout: expected 0 to 2, got ", layout);
    check(kind >= 0 && kind <= 3, "kind: expected 0 to 3, got ", kind);
    check(extension >= 0 && extension <= 2, "extension: expected 0 to 2, got ", extension);
    const bool combined = kind == int64_t(Kind::combined);
    check(margins.dim() == (combined ? 2 : 1) && (!combined || margins.size(1) == 3),
          "margins: expected one number a row, or three with kind \"combined\", got shape ",
          shape_of{margins});
    check_dtype("margins", margins, like.scalar_type());
    check_device("margins", margins, like);
    const int64_t batch = labels_.numel(), num_rows = margins.size(0);
    if (layout == int64_t(Layout::per_sample)) {
      check(num_rows == batch, "sample_margins: expected ", batch, " rows, got ", num_rows);
    } else if (layout == int64_t(Layout::one)) {
      check(num_rows == 1, "margins: expected 1 row, got ", num_rows);
    } else if (groups_.has_value()) {
      groups = indices("groups", *groups_, 0, num_rows);
      num_classes = groups->numel();
      check_device("groups", *groups, margins);
    } else {
      num_classes = num_rows;
    }
    labels = indices("labels", labels_, -1, num_classes);
    check_device("labels", labels, margins);
  }

  template <typename T>
  MarginTable<T> table() const {
    return {margins.const_data_ptr<T>(),
            data_or_null<int64_t>(groups),
            margins.size(0),
            num_classes,
            Layout(layout),
            Kind(kind),
            Extension(extension),
            straight_through};
  }
};

// One number on the device of `like` and of its dtype, for the kernel to read.
template <typename T>
const T* scalar_pointer(const char* name, const Tensor& tensor, const Tensor& like) {
  check_one_number(name, tensor, like.scalar_type());
  check_device(name, tensor, like);
  return tensor.const_data_ptr<T>();
}

// Calls body(T()) with the floating type of a tensor of float32 or float64.
template <typename Body>
auto with_float_type(const char* name, const Tensor& tensor, const Body& body) {
  if (tensor.scalar_type() == ScalarType::Double) return body(double());
  check_dtype(name, tensor, ScalarType::Float, "float32 or float64");
  return body(float());
}

}  // namespace fairloss::ops

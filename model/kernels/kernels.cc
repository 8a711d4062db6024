#include "model/kernels/kernels.h"

#include <ATen/ATen.h>

#include "model/kernels/cuda/rows.h"
#include "model/kernels/dispatch.h"
#include "runtime/process/on_cuda.h"

namespace fttrain {
namespace {

// body(loops for x's element type, begin, end) over [0, items), as ParallelItems splits them.
template <class Body>
void OnCpu(const at::Tensor& x, int64_t items, int64_t elements_per_item, const Body& body) {
  WithElementType(x, [&]<class T>(T) {
    const RowKernels<T>& kernels = RowsOf<T>(SelectedCpuKernels());
    ParallelItems(items, elements_per_item,
                  [&](int64_t begin, int64_t end) { body(kernels, begin, end); });
  });
}

int64_t RowCount(const at::Tensor& x) { return x.size(-1) == 0 ? 0 : x.numel() / x.size(-1); }

at::Tensor Norm(at::Tensor x, const at::Tensor& delta, const at::Tensor& weight,
                const NormForm& form) {
  const int64_t columns = x.size(-1), rows = RowCount(x);
  CheckOperand("a norm's weight", x, weight, {columns}, x.scalar_type());
  at::Tensor y = at::empty_like(x);
  if (FT_ON_CUDA(x, Norm, DtypeOf(x), MutableData<void>(x), Data<void>(delta), Data<void>(weight),
                 MutableData<void>(y), rows, columns, form)) {
    return y;
  }
  OnCpu(x, rows, columns, [&]<class T>(const RowKernels<T>& kernels, int64_t begin, int64_t end) {
    kernels.norm(MutableData<T>(x) + begin * columns,
                 delta.defined() ? Data<T>(delta) + begin * columns : nullptr, Data<T>(weight),
                 MutableData<T>(y) + begin * columns, end - begin, columns, form);
  });
  return y;
}

// Rows whose weight gradient is summed before the partial sums are: fixed, so that the result does
// not depend on the number of threads.
constexpr int64_t kRowsPerPart = 32;

template <class T>
void NormBackwardOnCpu(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& weight,
                       const NormForm& form, const at::Tensor& dresidual, at::Tensor dx,
                       at::Tensor dweight) {
  using S = typename StatisticsOf<T>::Type;
  const CpuKernels& selected = SelectedCpuKernels();
  const int64_t columns = x.size(-1), rows = RowCount(x);
  const int64_t parts = (rows + kRowsPerPart - 1) / kRowsPerPart;
  at::Tensor partial;
  if (dweight.defined()) partial = at::zeros({parts, columns}, dweight.options());
  ParallelItems(parts, kRowsPerPart * columns, [&](int64_t begin, int64_t end) {
    for (int64_t part = begin; part < end; ++part) {
      const int64_t row = part * kRowsPerPart, at = row * columns;
      RowsOf<T>(selected).norm_backward(
          Data<T>(dy) + at, Data<T>(x) + at, Data<T>(weight),
          dresidual.defined() ? Data<T>(dresidual) + at : nullptr, MutableData<T>(dx) + at,
          partial.defined() ? MutableData<S>(partial) + part * columns : nullptr,
          std::min(kRowsPerPart, rows - row), columns, form);
    }
  });
  if (!dweight.defined()) return;
  ParallelItems(columns, parts, [&](int64_t begin, int64_t end) {
    for (int64_t part = 0; part < parts; ++part) {
      RowsOf<S>(selected).accumulate(MutableData<S>(dweight) + begin,
                                     Data<S>(partial) + part * columns + begin, end - begin);
    }
  });
}

void CheckTargets(const at::Tensor& logits, const at::Tensor& targets) {
  CheckInput("cross entropy", logits);
  TORCH_CHECK(logits.dim() == 2, "cross entropy: logits ", logits.sizes(), " are no matrix");
  CheckOperand("cross entropy's targets", logits, targets, {logits.size(0)}, at::kLong);
}

}  // namespace

at::Tensor NormForward(const at::Tensor& x, const at::Tensor& weight, const NormForm& form) {
  CheckInput("a norm", x);
  return Norm(x, {}, weight, form);
}

at::Tensor AddNormForward(at::Tensor x, const at::Tensor& delta, const at::Tensor& weight,
                          const NormForm& form) {
  CheckSame("add + norm", x, delta);
  return Norm(x, delta, weight, form);
}

at::Tensor NormBackward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& weight,
                        const NormForm& form, const at::Tensor& dresidual, at::Tensor dweight) {
  const int64_t columns = x.size(-1);
  CheckSame("norm backward", x, dy);
  CheckOperand("a norm's weight", x, weight, {columns}, x.scalar_type());
  if (dresidual.defined()) CheckSame("norm backward's residual", x, dresidual);
  if (dweight.defined()) {
    CheckOperand("a norm's weight gradient", x, dweight, {columns}, StatisticsType(x));
  }
  at::Tensor dx = at::empty_like(x);
#if defined(FTTRAIN_WITH_CUDA)
  at::Tensor partial;
  if (x.is_cuda() && dweight.defined()) {
    partial = at::empty({cuda::kDweightParts, columns}, dweight.options());
  }
  if (FT_ON_CUDA(x, NormBackward, DtypeOf(x), Data<void>(dy), Data<void>(x), Data<void>(weight),
                 Data<void>(dresidual), MutableData<void>(dx), MutableData<void>(partial),
                 RowCount(x), columns, form)) {
    if (dweight.defined()) dweight.add_(partial.sum(0));
    return dx;
  }
#else
  RefuseCuda(x);
#endif
  WithElementType(
      x, [&]<class T>(T) { NormBackwardOnCpu<T>(dy, x, weight, form, dresidual, dx, dweight); });
  return dx;
}

void RopeInPlace(at::Tensor x, const at::Tensor& cos, const at::Tensor& sin,
                 const at::Tensor& positions, bool inverse, bool interleaved, int64_t first) {
  CheckInput("rotary", x);
  TORCH_CHECK(x.dim() == 3 && cos.dim() == 2 && first >= 0 && first + 2 * cos.size(1) <= x.size(2),
              "rotary: x ", x.sizes(), " is not [T, heads, D] of a cos ", cos.sizes(),
              " of D / 2 or fewer from ", first, " on");
  const int64_t rows = x.size(0), heads = x.size(1), head_dim = x.size(2);
  const int64_t turned = 2 * cos.size(1);
  CheckOperand("rotary's cos", x, cos, cos.sizes(), StatisticsType(x));
  CheckOperand("rotary's sin", x, sin, cos.sizes(), StatisticsType(x));
  CheckOperand("rotary's positions", x, positions, {rows}, at::kLong);
  void* const from = static_cast<char*>(x.mutable_data_ptr()) + first * x.element_size();
  if (FT_ON_CUDA(x, Rope, DtypeOf(x), from, Data<void>(cos), Data<void>(sin),
                 Data<int64_t>(positions), rows, heads, head_dim, inverse, turned, interleaved)) {
    return;
  }
  const int64_t* position = Data<int64_t>(positions);
  for (int64_t t = 0; t < rows; ++t) {
    TORCH_CHECK(position[t] >= 0 && position[t] < cos.size(0), "rotary: position ", position[t],
                " of token ", t, " is beyond the table of ", cos.size(0));
  }
  OnCpu(x, rows, heads * turned,
        [&]<class T>(const RowKernels<T>& kernels, int64_t begin, int64_t end) {
          using S = typename StatisticsOf<T>::Type;
          kernels.rope(static_cast<T*>(from) + begin * heads * head_dim, Data<S>(cos), Data<S>(sin),
                       position + begin, end - begin, heads, head_dim, inverse, turned,
                       interleaved);
        });
}

at::Tensor GluForward(const at::Tensor& gate, const at::Tensor& up, const GluForm& form) {
  CheckSame("gated unit", gate, up);
  at::Tensor hidden = at::empty_like(gate);
  if (FT_ON_CUDA(gate, Glu, DtypeOf(gate), Data<void>(gate), Data<void>(up),
                 MutableData<void>(hidden), gate.numel(), form)) {
    return hidden;
  }
  OnCpu(gate, gate.numel(), 1,
        [&]<class T>(const RowKernels<T>& kernels, int64_t begin, int64_t end) {
          kernels.glu(Data<T>(gate) + begin, Data<T>(up) + begin, MutableData<T>(hidden) + begin,
                      end - begin, form);
        });
  return hidden;
}

at::Tensor GluBackwardInPlace(const at::Tensor& dhidden, at::Tensor gate, at::Tensor up,
                              bool with_hidden, const GluForm& form) {
  CheckSame("gated unit backward", gate, up);
  CheckSame("gated unit backward", gate, dhidden);
  at::Tensor hidden;
  if (with_hidden) hidden = at::empty_like(gate);
  if (FT_ON_CUDA(gate, GluBackward, DtypeOf(gate), Data<void>(dhidden), MutableData<void>(gate),
                 MutableData<void>(up), MutableData<void>(hidden), gate.numel(), form)) {
    return hidden;
  }
  OnCpu(gate, gate.numel(), 1,
        [&]<class T>(const RowKernels<T>& kernels, int64_t begin, int64_t end) {
          kernels.glu_backward(
              Data<T>(dhidden) + begin, MutableData<T>(gate) + begin, MutableData<T>(up) + begin,
              with_hidden ? MutableData<T>(hidden) + begin : nullptr, end - begin, form);
        });
  return hidden;
}

void SoftCapInPlace(at::Tensor x, double cap) {
  CheckInput("soft cap", x);
  TORCH_CHECK(cap > 0, "soft cap: ", cap);
  if (FT_ON_CUDA(x, SoftCap, DtypeOf(x), MutableData<void>(x), x.numel(), cap)) return;
  OnCpu(x, x.numel(), 1, [&]<class T>(const RowKernels<T>& kernels, int64_t begin, int64_t end) {
    kernels.soft_cap(MutableData<T>(x) + begin, end - begin, cap);
  });
}

at::Tensor Dropout(const at::Tensor& x, const at::Tensor& token_index, double p, DropoutKey key,
                   int64_t feature_offset, int64_t features) {
  CheckInput("dropout", x);
  TORCH_CHECK(x.dim() == 2 && feature_offset >= 0 && feature_offset + x.size(1) <= features,
              "dropout: x ", x.sizes(), " at feature ", feature_offset, " of ", features);
  TORCH_CHECK(p >= 0.0 && p < 1.0, "dropout: probability ", p, " is not in [0, 1)");
  CheckOperand("dropout's token_index", x, token_index, {x.size(0)}, at::kLong);
  const int64_t rows = x.size(0), columns = x.size(1);
  at::Tensor y = at::empty_like(x);
  const double scale = 1.0 / (1.0 - p);
  if (FT_ON_CUDA(
          x, Dropout, DtypeOf(x), Data<void>(x), Data<int64_t>(token_index), MutableData<void>(y),
          rows, columns,
          (cuda::DropoutArguments{key.key, key.stream, p, scale, feature_offset, features}))) {
    return y;
  }
  const DropoutSlice slice{key.key, key.stream, p, feature_offset, features};
  OnCpu(x, rows, columns, [&]<class T>(const RowKernels<T>& kernels, int64_t begin, int64_t end) {
    kernels.dropout(Data<T>(x) + begin * columns, Data<int64_t>(token_index) + begin,
                    MutableData<T>(y) + begin * columns, end - begin, columns, slice);
  });
  return y;
}

at::Tensor CrossEntropyStats(const at::Tensor& logits, const at::Tensor& targets,
                             int64_t vocab_offset) {
  CheckTargets(logits, targets);
  const int64_t rows = logits.size(0), vocab = logits.size(1);
  at::Tensor stats = at::empty({rows, 3}, logits.options().dtype(StatisticsType(logits)));
  if (FT_ON_CUDA(logits, CrossEntropyStats, DtypeOf(logits), Data<void>(logits),
                 Data<int64_t>(targets), MutableData<void>(stats), rows, vocab, vocab_offset)) {
    return stats;
  }
  OnCpu(
      logits, rows, vocab, [&]<class T>(const RowKernels<T>& kernels, int64_t begin, int64_t end) {
        using S = typename StatisticsOf<T>::Type;
        kernels.cross_entropy_stats(Data<T>(logits) + begin * vocab, Data<int64_t>(targets) + begin,
                                    MutableData<S>(stats) + begin * 3, end - begin, vocab,
                                    vocab_offset);
      });
  return stats;
}

void CrossEntropyBackwardInPlace(at::Tensor logits, const at::Tensor& lse,
                                 const at::Tensor& targets, int64_t vocab_offset,
                                 const at::Tensor& coefficients, double soft_cap) {
  CheckTargets(logits, targets);
  const int64_t rows = logits.size(0), vocab = logits.size(1);
  CheckOperand("cross entropy's log-sum-exp", logits, lse, {rows}, StatisticsType(logits));
  CheckOperand("cross entropy's coefficients", logits, coefficients, {rows},
               StatisticsType(logits));
  if (FT_ON_CUDA(logits, CrossEntropyBackward, DtypeOf(logits), MutableData<void>(logits),
                 Data<void>(lse), Data<int64_t>(targets), Data<void>(coefficients), rows, vocab,
                 vocab_offset, soft_cap)) {
    return;
  }
  OnCpu(logits, rows, vocab,
        [&]<class T>(const RowKernels<T>& kernels, int64_t begin, int64_t end) {
          using S = typename StatisticsOf<T>::Type;
          kernels.cross_entropy_backward(MutableData<T>(logits) + begin * vocab,
                                         Data<S>(lse) + begin, Data<int64_t>(targets) + begin,
                                         Data<S>(coefficients) + begin, end - begin, vocab,
                                         vocab_offset, soft_cap);
        });
}

void AccumulateInto(at::Tensor accumulator, const at::Tensor& value) {
  TORCH_CHECK(accumulator.sizes() == value.sizes() && accumulator.is_contiguous(), "accumulate ",
              value.sizes(), " into ", accumulator.sizes());
  // Strided values and a float64 sum of narrower ones are rare: ATen's addition does.
  if (!value.is_contiguous() || accumulator.scalar_type() != StatisticsType(value)) {
    accumulator.add_(value);
    return;
  }
  if (FT_ON_CUDA(value, Accumulate, DtypeOf(value), MutableData<void>(accumulator),
                 Data<void>(value), value.numel())) {
    return;
  }
  OnCpu(value, value.numel(), 1,
        [&]<class T>(const RowKernels<T>& kernels, int64_t begin, int64_t end) {
          using S = typename StatisticsOf<T>::Type;
          kernels.accumulate(MutableData<S>(accumulator) + begin, Data<T>(value) + begin,
                             end - begin);
        });
}

}  // namespace fttrain

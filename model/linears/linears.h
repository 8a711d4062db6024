// This rank's slices of linears that read the same input (q, k, v; gate and up; or one alone), each
// dense or NF4, frozen or trainable, with or without a low-rank adapter (over NF4: QLoRA,
// arXiv:2305.14314). They run together: the input is read once for all adapters' first factors,
// stacked to one [R, in], and once for their gradients; the input's gradient is one sum. With
// dropout each adapter sees its own mask of the input, and products of its own. R is the sum of the
// adapters' ranks, in the order of the linears. Parts of one module (LinearSpec::Part) have one
// adapter, whose second factor each has its rows of. They never communicate.
#pragma once

#include <string>
#include <vector>

#include "model/kernels/kernels.h"
#include "model/linears/parameters.h"
#include "model/matmul/weight_matrix.h"

namespace fttrain {

// What a dropout mask depends on. Undefined token_index or p = 0: no dropout (evaluation).
struct DropoutContext {
  uint64_t step_key = 0;   // StepKey(seed, step)
  at::Tensor token_index;  // int64 [T], layout-independent id of each token within the step
};

class Linears {
 public:
  // Linears of one input and split, whose parameters DeclareLinear has put into `set`, which must
  // outlive this, as must `ahead` (may be null: see Operand).
  Linears(const std::vector<LinearSpec>& specs, const ParameterForm& form, TensorRank tp,
          const ParameterSet& set, Nf4Ahead* ahead = nullptr);

  // x [T, in_local] -> each linear's x W^T + b + s dropout(x) A^T B^T (each has its own s), [T,
  // out_local]. Only the results are booked under the caller's category. With a row split tp rank 0
  // alone adds b to its partial sum. adapters false: without the third term, whatever adapters
  // there are. `bias_shares` [T, 1], if given: what of b each row has.
  std::vector<at::Tensor> Forward(const at::Tensor& x, const DropoutContext& dropout,
                                  bool adapters = true, const at::Tensor& bias_shares = {}) const;
  // The same into tensors that are there.
  void ForwardInto(const std::vector<at::Tensor>& y, const at::Tensor& x,
                   const DropoutContext& dropout, bool adapters = true,
                   const at::Tensor& bias_shares = {}) const;
  // What ForwardInto forms, for those who form it together with other linears' (AddGroupedSums).
  std::vector<ProductSum> ForwardSums(const std::vector<at::Tensor>& y, const at::Tensor& x,
                                      const DropoutContext& dropout, bool adapters = true,
                                      const at::Tensor& bias_shares = {}) const;
  // dy: of each linear, [T, out_local]. The linears' dx summed and added to `dx` if it is defined,
  // else stored there. Returns s_i dy_i B_i side by side, [T, R] (undefined without adapters;
  // float32 where products are formed so), for BackwardParams.
  at::Tensor BackwardInput(const std::vector<at::Tensor>& dy, const DropoutContext& dropout,
                           at::Tensor& dx) const;
  // What that forms, added to `dx` or stored; `dlow` becomes what it returns. With dropout all but
  // the adapters' share of `dx`; without a `dx` dlow alone.
  std::vector<ProductSum> BackwardSums(const std::vector<at::Tensor>& dy,
                                       const DropoutContext& dropout, const at::Tensor& dx,
                                       bool accumulate, at::Tensor& dlow) const;
  // The same without an input gradient, where nothing below needs one.
  at::Tensor BackwardLow(const std::vector<at::Tensor>& dy) const;
  // Adds to the gradients of whatever is trainable. x and bias_shares as given to Forward.
  void BackwardParams(const std::vector<at::Tensor>& dy, const at::Tensor& dlow,
                      const at::Tensor& x, const DropoutContext& dropout,
                      const at::Tensor& bias_shares = {}) const;
  // Adds to the gradients of bias_shares [T], of statistics' type, where this rank adds a bias:
  // <dy, b>. Of one linear alone.
  void AddBiasProducts(const at::Tensor& dy, const at::Tensor& dshares) const;
  // Whether BackwardParams needs x (false: frozen without adapters).
  bool HasTrainable() const;

  // NF4 matrices are dequantised once (true), for every call until they are released (false).
  void Hold(bool hold);
  // The adapters' factors are copied once as products read them (FactorCopyBytes), booked as
  // kAdapters. Until they are released changes of the parameters are not seen. The same values, so
  // results are the same bits.
  void HoldFactors(bool hold);

 private:
  struct Member {
    LinearSpec spec;
    WeightMatrix weight;
    Parameter* bias;  // may be null
    bool adds_bias;
    Parameter* b = nullptr;  // null without an adapter
    at::Tensor b_copy = {};  // while factors are held, if they are converted
    const at::Tensor& B() const { return b_copy.defined() ? b_copy : b->value; }
  };
  // Of a linear, of the parts of a module, or of an expert's gate and up together.
  struct Adapter {
    std::string module;
    Parameter* a;
    std::vector<size_t> members;
    int64_t input_offset = 0, inputs = 0;  // of x's features in the whole input, which has so many
    Range columns = {};                    // of [T, R]
    double scale = 0.0;                    // of its product
    at::Tensor Part(const at::Tensor& low) const {
      return low.narrow(1, columns.offset, columns.extent);
    }
  };
  void AddAdapter(const LinearSpec& spec, const ParameterForm& form, TensorRank tp,
                  const ParameterSet& set);
  bool Drops(const DropoutContext& dropout) const;
  // The adapter's input, or its gradient: x under its mask.
  at::Tensor Dropped(const Adapter& adapter, const at::Tensor& x,
                     const DropoutContext& dropout) const;
  at::Tensor StackedA() const;                       // [R, in]
  at::Tensor FactorA(const Adapter& adapter) const;  // its rows
  // s_i dy_i B_i into the columns of dlow.
  std::vector<ProductSum> LowGradients(const std::vector<at::Tensor>& dy,
                                       const at::Tensor& dlow) const;
  // dB_i = s_i dy_i^T low.
  void GradientsOfB(const Adapter& adapter, const std::vector<at::Tensor>& dy,
                    const at::Tensor& low) const;
  void AdapterGradients(const std::vector<at::Tensor>& dy, const at::Tensor& dlow,
                        const at::Tensor& x) const;
  void DroppedAdapterGradients(const std::vector<at::Tensor>& dy, const at::Tensor& dlow,
                               const at::Tensor& x, const DropoutContext& dropout) const;

  std::vector<Member> members_;
  std::vector<Adapter> adapters_;
  at::ScalarType compute_;
  double dropout_ = 0.0;
  int64_t rank_ = 0;   // R
  at::Tensor a_copy_;  // [R, in] while factors are held, if they are stacked or converted
};

// What HoldFactors of linears of one input takes: of a stack if there are several adapters (with
// dropout none is read), of both factors where products are of another dtype (LowRankDtype). Pure.
int64_t FactorCopyBytes(const std::vector<LinearSpec>& specs, const ParameterForm& form,
                        TensorRank tp, c10::Device device);

}  // namespace fttrain
